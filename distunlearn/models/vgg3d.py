"""The paper's encoder family: a VGG-like 3-D network, θ_repr, from a volume to a feature vector.

Dimensions: `B` subjects, `W H D` voxels, `F` features.
"""

import math
from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from distunlearn.models.norm import Norm, norm_layer
from distunlearn.strict import Strict


class VggConfig(Strict):
    """A VGG-like 3-D encoder: blocks of convolutions, each followed by pooling, then one fully connected layer."""

    name: Literal["vgg3d"] = "vgg3d"
    channels: tuple[int, ...] = (8, 16, 32, 32)
    """Channels of each block; the authors' own network is (32, 64, 64, 96, 96, 96)."""
    convolutions: tuple[int, ...] | None = None
    """Convolutions of each block; two in every block if not given. The authors': (2, 2, 2, 3, 3, 3)."""
    features: int = 96
    """Width of the feature layer, the encoder's output."""
    rectified: bool = True
    """Features are not negative, as the authors'; without it, none of a narrow feature layer's few can die."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the values in front of the feature layer dropped while training; the authors have none."""
    norm: Norm = "sync"
    """What normalises within a block; see `models.norm` for what each does across ranks."""


class Vgg3d(nn.Module):
    """Encoder θ_repr; conv, ReLU, normalisation in this order, as the authors' code has it.

    An axis that has shrunk to one voxel is pooled no further: with the authors' six blocks and the paper's
    128×128×32 input their committed code stops with "output size is too small" (docs/deviations.md).
    """

    def __init__(self, config: VggConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        convolutions = config.convolutions or (2,) * len(config.channels)
        if len(convolutions) != len(config.channels):
            raise ValueError(f"{len(convolutions)} numbers of convolutions for {len(config.channels)} blocks")
        layers: list[nn.Module] = []
        inside = 1
        for width, count in zip(config.channels, convolutions, strict=True):
            for _ in range(count):
                layers += [
                    nn.Conv3d(inside, width, 3, padding=1),
                    nn.ReLU(inplace=True),
                    norm_layer(config.norm, width),
                ]
                inside = width
            kernel, shape = _pool(shape)
            layers.append(nn.MaxPool3d(kernel))
        self.blocks = nn.Sequential(*layers)
        self.to_features = nn.Sequential(nn.Flatten())
        if config.dropout:
            self.to_features.append(nn.Dropout(config.dropout))
        self.to_features.append(nn.Linear(inside * math.prod(shape), config.features))
        if config.rectified:
            self.to_features.append(nn.ReLU())

    def forward(self, volume: Float[Tensor, "B 1 W H D"]) -> Float[Tensor, "B F"]:
        """Encode a batch of normalised volumes."""
        features: Tensor = self.to_features(self.blocks(volume))
        return features


def _pool(shape: tuple[int, int, int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    w, h, d = (2 if size > 1 else 1 for size in shape)
    return (w, h, d), (shape[0] // w, shape[1] // h, shape[2] // d)
