"""The heads on the features: what is predicted (θ_p) and which scanner, or which other confound, it was (θ_d).

Dimensions: `B` subjects, `F` features, `R` columns of an encoder's row (`models.tapped`), `H` domain heads, `K` outputs.
"""

import math

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from distunlearn.models.norm import norm_layer
from distunlearn.strict import Strict


class HeadConfig(Strict):
    """One hidden layer, then the output; widths are the authors'."""

    hidden: int = Field(32, ge=0)
    """Width of the hidden layer; 0 for none."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of hidden values dropped while training; the authors' domain head has 0.2."""


class DomainHeadConfig(HeadConfig):
    """One domain head or several, on the feature layer and on further layers of the encoder."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of hidden values dropped while training; the authors'."""
    ensemble: int = Field(1, gt=0)
    """Heads a layer, which differ in their first weights; losses are their mean, so that the encoder has to fool all."""
    layers: tuple[str, ...] = ()
    """Further layers of the encoder, by their names in `named_modules`, such as `blocks.5`: their outputs, averaged
    over space, get heads of their own. The task and the probes see the feature layer only."""
    standardise: bool = False
    """Standardise what heads see over the global batch, so that small differences between scanners, such as those of
    means over a map, are told as fast as large ones; batch norm (`sync`) in front of the heads."""
    reset_every: int = Field(0, ge=0)
    """Steps after which one head, each in its turn, starts anew, so that the encoder cannot learn one head's blind
    spots; 0 for never."""


class DomainHeads(nn.Module):
    """All heads that tell one confound: `ensemble` of them on each layer."""

    def __init__(self, config: DomainHeadConfig, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.widths, self.ensemble, self.reset_every = widths, config.ensemble, config.reset_every
        self.norm = norm_layer("sync", sum(widths)) if config.standardise else None
        self.heads = nn.ModuleList(_head(config, width, outputs) for width in widths for _ in range(config.ensemble))

    def forward(self, row: Float[Tensor, "B R"]) -> Float[Tensor, "B H K"]:
        """What each head says."""
        shown = row[:, : sum(self.widths)]
        if self.norm is not None:
            shown = self.norm(shown[:, :, None, None, None]).flatten(1)
        layers = torch.split(shown, list(self.widths), dim=1)
        return torch.stack([one(layers[index // self.ensemble]) for index, one in enumerate(self.heads)], dim=1)


class VoxelHead(nn.Module):
    """The head of a segmentation: the same linear map at every voxel."""

    def __init__(self, width: int, outputs: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.map = (width, *shape)
        self.head = nn.Conv3d(width, outputs, 1)

    def forward(self, row: Float[Tensor, "B R"]) -> Float[Tensor, "B K W H D"]:
        """Raw outputs at every voxel."""
        output: Tensor = self.head(row[:, -math.prod(self.map) :].reshape(row.shape[0], *self.map))
        return output


class TaskHead(nn.Module):
    """The task's head, which sees the feature layer only."""

    def __init__(self, config: HeadConfig, width: int, outputs: int) -> None:
        super().__init__()
        self.width, self.head = width, _head(config, width, outputs)

    def forward(self, row: Float[Tensor, "B R"]) -> Float[Tensor, "B K"]:
        """The head's raw output."""
        output: Tensor = self.head(row[:, : self.width])
        return output


def _head(config: HeadConfig, features: int, outputs: int) -> nn.Module:
    """From (B, features) to (B, outputs), raw, with no softmax."""
    if not config.hidden:
        return nn.Linear(features, outputs)
    layers: list[nn.Module] = [nn.Linear(features, config.hidden), nn.ReLU()]
    if config.dropout:
        layers.append(nn.Dropout(config.dropout))
    return nn.Sequential(*layers, nn.Linear(config.hidden, outputs))
