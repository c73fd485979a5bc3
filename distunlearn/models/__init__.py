"""The networks: encoders (θ_repr) and heads (θ_p, θ_d). A new encoder is one file here and one line in ENCODERS."""

from typing import Annotated

from pydantic import Field
from torch import nn

from distunlearn.models.heads import HeadConfig, head
from distunlearn.models.mlp import Mlp, MlpConfig
from distunlearn.models.vgg3d import Vgg3d, VggConfig

ENCODERS = {"vgg3d": Vgg3d, "mlp": Mlp}

EncoderConfig = Annotated[VggConfig | MlpConfig, Field(discriminator="name")]

__all__ = ["ENCODERS", "EncoderConfig", "HeadConfig", "MlpConfig", "VggConfig", "build_encoder", "head"]


def build_encoder(config: VggConfig | MlpConfig, shape: tuple[int, ...]) -> nn.Module:
    """The encoder for scans of a shape: a module from (B, 1, *shape) or (B, M) to (B, features), with `.width`."""
    encoder: nn.Module = ENCODERS[config.name](config, shape)
    return encoder
