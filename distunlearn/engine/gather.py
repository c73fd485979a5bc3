"""Features of all ranks for losses on pairs of scans: each rank sees all, and is led by what its own change.

A loss on pairs is no sum over scans, so that shares of it cannot be added up. Every rank therefore computes the whole
loss from everyone's features, with gradients into its own only; the sum of those gradients over ranks, which is what
the step makes of them, is the gradient of one process that holds the whole batch.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor


def everyones(features: Float[Tensor, "b F"], facts: Sequence[Shaped[Tensor, " b"]]) -> tuple[Tensor, ...]:
    """Features and facts of the scans of all ranks, rank 0's first; gradients go to this rank's features alone.

    Args:
        features: of this rank's scans; ranks may hold different numbers of them, also none.
        facts: one number a scan each.

    Returns:
        (B, F) features, and each fact of the B scans in float64.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return features, *(fact.double() for fact in facts)
    world, rank = dist.get_world_size(), dist.get_rank()
    rows = torch.cat([features.detach().double(), *(fact.double()[:, None] for fact in facts)], dim=1)
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    padded = rows.new_zeros(int(max(counts)), rows.shape[1])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    parts = [part[: int(count)] for part, count in zip(parts, counts, strict=True)]
    width = features.shape[1]
    seen = [part[:, :width].to(features.dtype) for part in parts]
    seen[rank] = features
    together = torch.cat(parts)
    return torch.cat(seen), *together[:, width:].unbind(dim=1)


def share_of_whole(loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """A loss that every rank has computed whole, as a share: its value is divided among ranks, its gradient is not."""
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    return loss - loss.detach() * (1 - 1 / world)
