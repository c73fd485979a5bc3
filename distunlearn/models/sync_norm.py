"""Batch normalisation by the whole global batch, on any device: the same on any number of ranks as in one process.

Dimensions: `B` scans of this rank's share of the batch, `C` channels, `W H D` voxels, `R` ranks.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class SyncNorm(nn.BatchNorm3d):
    """Means and variances of each channel over the scans of all ranks; torch's own SyncBatchNorm exists for GPUs only.

    What crosses ranks are the count, mean and variance of each rank's share, and on the way back two sums a channel. A
    rank that holds one site only can therefore not normalise that site away.
    """

    def forward(self, maps: Float[Tensor, "B C W H D"]) -> Float[Tensor, "B C W H D"]:
        """Normalise; in training also follow the running means and variances that are used in evaluation."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            normalised: Tensor = super().forward(maps)
            return normalised
        normalised, voxels, mean, variance = _Normalise.apply(maps, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        self._follow(mean, variance * voxels / (voxels - 1))
        return normalised

    def _follow(self, mean: Float[Tensor, " C"], variance: Float[Tensor, " C"]) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)
        self.num_batches_tracked.add_(1)


class _Normalise(torch.autograd.Function):
    """One message each way, around torch's own kernels for what a rank does by itself.

    With x̂ = (x - μ) / σ over the N voxels of all ranks, the gradient is
    γ/σ · (dy - Σdy / N - x̂ Σ(dy x̂) / N), whose sums are over all ranks too.
    """

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        voxels, mean, variance = _of_all_ranks(*_moments(maps))
        ctx.save_for_backward(maps, weight, voxels, mean, torch.rsqrt(variance + eps))
        ctx.mark_non_differentiable(voxels, mean, variance)
        normalised = F.batch_norm(maps, mean.to(weight.dtype), variance.to(weight.dtype), weight, bias, eps=eps)
        return normalised, voxels, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        maps, weight, voxels, mean, inverse = ctx.saved_tensors
        of_weight, of_bias = _sums(gradient, maps, weight, mean, inverse)
        totals = torch.stack([of_weight, of_bias]).double()
        dist.all_reduce(totals)
        scale = weight * inverse
        slope = -scale * inverse * totals[0] / voxels
        offset = -scale * totals[1] / voxels - slope * mean
        scale, slope, offset = (value.to(maps.dtype).view(-1, 1, 1, 1) for value in (scale, slope, offset))
        return torch.addcmul(offset, maps, slope).addcmul_(gradient, scale), of_weight, of_bias, None


def _moments(maps: Float[Tensor, "B C W H D"]) -> tuple[Tensor, Tensor, Tensor]:
    """Voxels a channel, means and variances of this rank's share, in float64."""
    channels = maps.shape[1]
    if not maps.numel():  # a rank may be without scans
        return (maps.new_zeros(1, dtype=torch.float64), *maps.new_zeros(2, channels, dtype=torch.float64))
    mean, variance = torch.batch_norm_update_stats(maps, None, None, 0.0)
    voxels = mean.new_full((1,), maps.numel() // channels, dtype=torch.float64)
    return voxels, mean.double(), variance.double()


def _of_all_ranks(voxels: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same of all ranks together (Chan et al., 1979): nothing cancels, however far the means are from zero."""
    mine = torch.cat([voxels, mean, variance])
    everyones = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyones, mine)
    counts, means, variances = torch.stack(everyones).tensor_split((1, 1 + len(mean)), dim=1)
    total = counts.sum()
    share = counts / total
    together = (share * means).sum(dim=0)
    return total, together, (share * (variances + (means - together).square())).sum(dim=0)


def _sums(gradient: Tensor, maps: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Σ(dy x̂) and Σdy of this rank's share: the gradients of γ and of the offset."""
    if not maps.numel():
        return torch.zeros_like(weight), torch.zeros_like(weight)
    mean, inverse = mean.to(weight.dtype), inverse.to(weight.dtype)
    _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
        gradient, maps, weight, None, None, mean, inverse, True, 0.0, [False, True, True]
    )
    return of_weight, of_bias
