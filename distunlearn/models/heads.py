"""The two heads on the features: what is predicted (θ_p) and which scanner it was (θ_d).

Dimensions: `B` subjects, `F` features.
"""

from torch import nn

from distunlearn.strict import Strict


class HeadConfig(Strict):
    """One hidden layer, then the output; widths are the authors'."""

    hidden: int = 32
    """Width of the hidden layer."""
    dropout: float = 0.0
    """Share of hidden values dropped while training; the authors' domain head has 0.2."""


def head(config: HeadConfig, features: int, outputs: int) -> nn.Module:
    """A head (B, features) → (B, outputs); its output is raw, with no softmax."""
    layers: list[nn.Module] = [nn.Linear(features, config.hidden), nn.ReLU()]
    if config.dropout:
        layers.append(nn.Dropout(config.dropout))
    return nn.Sequential(*layers, nn.Linear(config.hidden, outputs))
