"""A residual 3-D network (He et al., 2016; identity shortcuts, strided blocks), θ_repr, from a volume to a feature vector.

Dimensions: `B` subjects, `C` channels, `W H D` voxels, `F` features.
"""

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from distunlearn.models.norm import Norm, norm_layer
from distunlearn.strict import Strict


class ResNetConfig(Strict):
    """Stages of basic blocks; each stage but the first halves the volume."""

    name: Literal["resnet3d"] = "resnet3d"
    channels: tuple[int, ...] = Field((16, 32, 64, 128), min_length=1)
    """Of each stage."""
    blocks: int = Field(2, gt=0)
    """Residual blocks a stage; with four stages, 2 makes the depth of a ResNet-18."""
    features: int = Field(96, gt=0)
    """Width of the feature layer, the encoder's output."""
    norm: Norm = "group"
    """What normalises; see `models.norm` for what each does across ranks."""


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(inside, outside, 3, stride, padding=1, bias=False), norm_layer(norm, outside), nn.ReLU(inplace=True),
            nn.Conv3d(outside, outside, 3, padding=1, bias=False), norm_layer(norm, outside),
        )  # fmt: skip
        same = inside == outside and stride == 1
        shortcut = nn.Sequential(nn.Conv3d(inside, outside, 1, stride, bias=False), norm_layer(norm, outside))
        self.shortcut = nn.Identity() if same else shortcut

    def forward(self, x: Float[Tensor, "B C W H D"]) -> Float[Tensor, "B C2 W2 H2 D2"]:
        """The sum of both ways."""
        return F.relu(self.body(x) + self.shortcut(x))


class ResNet3d(nn.Module):
    """Encoder θ_repr that averages over space at its end, so that it takes any shape."""

    def __init__(self, config: ResNetConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        first = config.channels[0]
        layers: list[nn.Module] = [
            nn.Conv3d(1, first, 3, stride=2, padding=1, bias=False),
            norm_layer(config.norm, first),
        ]
        layers.append(nn.ReLU(inplace=True))
        inside = first
        for stage, width in enumerate(config.channels):
            for block in range(config.blocks):
                layers.append(Block(inside, width, 2 if stage and not block else 1, config.norm))
                inside = width
        self.blocks = nn.Sequential(*layers)
        self.to_features = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(inside, config.features), nn.ReLU()
        )

    def forward(self, volume: Float[Tensor, "B 1 W H D"]) -> Float[Tensor, "B F"]:
        """Encode a batch of normalised volumes."""
        features: Tensor = self.to_features(self.blocks(volume))
        return features
