"""Batch normalisation by the whole global batch, on any device: the same on any number of ranks as in one process.

Dimensions: `B` scans of this rank's share of the batch, `C` channels, `W H D` voxels.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


class SyncNorm(nn.BatchNorm3d):
    """Means and variances of each channel over the scans of all ranks; torch's own SyncBatchNorm exists for GPUs only.

    What crosses ranks are sums over all voxels of a batch, two numbers a channel, and their gradients. A rank that
    holds one site only can therefore not normalise that site away.
    """

    def forward(self, maps: Float[Tensor, "B C W H D"]) -> Float[Tensor, "B C W H D"]:
        """Normalise; in training also follow the running means and variances that are used in evaluation."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            normalised: Tensor = super().forward(maps)
            return normalised
        over = (0, 2, 3, 4)
        count = maps.new_tensor([maps.numel() // maps.shape[1]])
        sums = _sum_of_ranks(torch.cat([count, maps.sum(over)]))
        voxels, mean = sums[0].detach(), sums[1:] / sums[0].detach()
        centred = maps - mean.view(-1, 1, 1, 1)
        # A second message, of centred values: E[x²] - E[x]² would cancel in single precision.
        variance = _sum_of_ranks(centred.square().sum(over)) / voxels
        self._follow(mean.detach(), variance.detach() * voxels / (voxels - 1))
        scale: Tensor = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(-1, 1, 1, 1) + self.bias.view(-1, 1, 1, 1)

    def _follow(self, mean: Float[Tensor, " C"], variance: Float[Tensor, " C"]) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class _SumOfRanks(torch.autograd.Function):
    """Add up over ranks; on the way back add up the gradients of all ranks. torch's own such function is deprecated."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum_of_ranks(values: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    total: Tensor = _SumOfRanks.apply(values)  # type: ignore[no-untyped-call]
    return total
