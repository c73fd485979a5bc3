"""The Simple Fully Convolutional Network (Peng et al., Medical Image Analysis 2021), the field's light brain-age encoder.

Dimensions: `B` subjects, `W H D` voxels, `F` features.
"""

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from distunlearn.models.norm import Norm, norm_layer
from distunlearn.strict import Strict


class SfcnConfig(Strict):
    """3×3×3 convolution, normalisation, pooling, ReLU, block after block; then 1×1×1 convolution and the mean over space."""

    name: Literal["sfcn"] = "sfcn"
    channels: tuple[int, ...] = Field((32, 64, 128, 256, 256), min_length=1)
    """Of each block; the published network's."""
    features: int = Field(64, gt=0)
    """Width of the feature layer, the encoder's output; the published network has 64."""
    norm: Norm = "group"
    """The published network has batch; see `models.norm` for what each does across ranks."""


class Sfcn(nn.Module):
    """Encoder θ_repr without any fully connected layer, so that it takes any shape."""

    def __init__(self, config: SfcnConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 1
        for width in config.channels:
            kernel = tuple(2 if size > 1 else 1 for size in shape)
            shape = (shape[0] // kernel[0], shape[1] // kernel[1], shape[2] // kernel[2])
            layers += [
                nn.Conv3d(inside, width, 3, padding=1),
                norm_layer(config.norm, width),
                nn.MaxPool3d((kernel[0], kernel[1], kernel[2])),
                nn.ReLU(inplace=True),
            ]
            inside = width
        last = [nn.Conv3d(inside, config.features, 1), norm_layer(config.norm, config.features), nn.ReLU(inplace=True)]
        self.blocks = nn.Sequential(*layers, *last)
        self.to_features = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())

    def forward(self, volume: Float[Tensor, "B 1 W H D"]) -> Float[Tensor, "B F"]:
        """Encode a batch of normalised volumes."""
        features: Tensor = self.to_features(self.blocks(volume))
        return features
