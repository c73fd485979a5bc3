"""An encoder for tables: one row of measures (thicknesses, volumes) a scan, to a feature vector.

Dimensions: `B` subjects, `M` measures, `F` features.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from distunlearn.strict import Strict


class MlpConfig(Strict):
    """Fully connected layers with layer normalisation; none at the feature layer, so that it can be made narrow."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (128,)
    """Widths of the layers before the feature layer."""
    features: int = 64
    """Width of the feature layer, the encoder's output."""
    rectified: bool = True
    """Features are not negative; without it, none of a narrow feature layer's few can die."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of every hidden layer's values dropped while training."""


class Mlp(nn.Module):
    """Encoder θ_repr for feature tables."""

    def __init__(self, config: MlpConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        (inside,) = shape
        layers: list[nn.Module] = []
        for width in config.hidden:
            layers += [nn.Linear(inside, width), nn.LayerNorm(width), nn.ReLU()]
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
            inside = width
        self.layers = nn.Sequential(*layers, nn.Linear(inside, config.features))
        if config.rectified:
            self.layers.append(nn.ReLU())
        self.mean: Tensor
        self.sd: Tensor
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("sd", torch.ones(shape))

    def standardise(self, mean: Float[Tensor, " M"], sd: Float[Tensor, " M"]) -> None:
        """Set what each measure is centred on and divided by: mean and standard deviation of the training scans."""
        self.mean.copy_(mean)
        self.sd.copy_(sd.clamp_min(1e-6))

    def forward(self, measures: Float[Tensor, "B M"]) -> Float[Tensor, "B F"]:
        """Encode a batch of rows."""
        features: Tensor = self.layers((measures - self.mean) / self.sd)
        return features
