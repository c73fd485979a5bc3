"""Rows of all ranks under each other; features for losses on pairs of scans: each rank sees all, and is led by its own.

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
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return features, *(fact.double() for fact in facts)
    rows = torch.cat([features.detach().double(), *(fact.double()[:, None] for fact in facts)], dim=1)
    parts, width = rows_of_ranks(rows), features.shape[1]
    seen = [part[:, :width].to(features.dtype) for part in parts]
    seen[dist.get_rank()] = features
    return torch.cat(seen), *torch.cat(parts)[:, width:].unbind(dim=1)


def rows_of_ranks(rows: Shaped[Tensor, "n K"]) -> list[Shaped[Tensor, "m K"]]:
    """Every rank's rows, rank 0's first; ranks may hold different numbers of rows. There must be several ranks."""
    counts = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=rows.device)
    counts[dist.get_rank()] = len(rows)
    dist.all_reduce(counts)
    padded = rows.new_zeros(int(counts.max()), rows.shape[1])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return [part[:count] for part, count in zip(parts, counts.tolist(), strict=True)]


def share_of_whole(loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """A loss that every rank has computed whole, as a share: its value is divided among ranks, its gradient is not."""
    world = dist.get_world_size() if dist.is_initialized() else 1
    return loss - loss.detach() * (1 - 1 / world)
