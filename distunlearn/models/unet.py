"""A U-Net (Ronneberger et al., 2015; Çiçek et al., 2016) in 2-D or 3-D: θ_repr for segmentation, a map of features.

Dimensions: `B` subjects, `W H D` voxels, `F` features.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from distunlearn.models.norm import Norm, norm_layer
from distunlearn.strict import Strict


class UnetConfig(Strict):
    """Levels of two convolutions each; the output has `features` channels at every voxel."""

    name: Literal["unet"] = "unet"
    dimensions: Literal[2, 3] = 3
    """3: volumes; 2: every slice by itself (3×3×1 convolutions), all slices of a scan in one pass."""
    channels: tuple[int, ...] = Field((16, 32, 64), min_length=2)
    """Of each level, from full resolution down."""
    features: int = Field(16, gt=0)
    """Channels of the output: the task head sees them at every voxel, domain heads and probes their mean over space."""
    norm: Norm = "group"
    """What normalises; see `models.norm` for what each does across ranks."""


class Unet(nn.Module):
    """Encoder θ_repr whose output is as large as its input, (B, F, W, H, D)."""

    def __init__(self, config: UnetConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernels: list[tuple[int, ...]] = []
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inside = 1
        for level, width in enumerate(config.channels):
            self.down.append(_convolutions(inside, width, config))
            inside = width
            if level + 1 < len(config.channels):
                kernel = tuple(2 if size > 1 and axis < config.dimensions else 1 for axis, size in enumerate(shape))
                self.kernels.append(kernel)
                shape = (shape[0] // kernel[0], shape[1] // kernel[1], shape[2] // kernel[2])
        for width, outside in zip(config.channels[-2::-1], [*config.channels[-3::-1], config.features], strict=True):
            self.up.append(_convolutions(inside + width, outside, config))
            inside = outside

    def forward(self, volume: Float[Tensor, "B 1 W H D"]) -> Float[Tensor, "B F W H D"]:
        """Encode a batch of normalised volumes."""
        x, skipped = volume, list[Tensor]()
        for level, block in enumerate(self.down):
            x = block(x)
            if level < len(self.kernels):
                skipped.append(x)
                x = F.max_pool3d(x, self.kernels[level])
        for block, skip in zip(self.up, reversed(skipped), strict=True):
            x = block(torch.cat([F.interpolate(x, size=skip.shape[2:]), skip], dim=1))
        return x


def _convolutions(inside: int, outside: int, config: UnetConfig) -> nn.Sequential:
    size, padding = ((3, 3, 1), (1, 1, 0)) if config.dimensions == 2 else ((3, 3, 3), (1, 1, 1))
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Conv3d(inside, outside, size, padding=padding), norm_layer(config.norm, outside), nn.ReLU()]
        inside = outside
    return nn.Sequential(*layers)
