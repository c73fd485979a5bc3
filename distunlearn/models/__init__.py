"""The networks: encoders (θ_repr) and heads (θ_p, θ_d). A new encoder is one file here and one line in ENCODERS."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from distunlearn.models.custom import CustomConfig, custom
from distunlearn.models.heads import DomainHeadConfig, DomainHeads, HeadConfig, TaskHead, VoxelHead
from distunlearn.models.mlp import Mlp, MlpConfig
from distunlearn.models.resnet3d import ResNet3d, ResNetConfig
from distunlearn.models.sfcn import Sfcn, SfcnConfig
from distunlearn.models.tapped import Tapped
from distunlearn.models.unet import Unet, UnetConfig
from distunlearn.models.vgg3d import Vgg3d, VggConfig

ENCODERS: dict[str, Callable[[Any, Any], nn.Module]] = {
    "vgg3d": Vgg3d,
    "resnet3d": ResNet3d,
    "sfcn": Sfcn,
    "unet": Unet,
    "mlp": Mlp,
    "custom": custom,
}

AnyEncoder = VggConfig | ResNetConfig | SfcnConfig | UnetConfig | MlpConfig | CustomConfig
EncoderConfig = Annotated[AnyEncoder, Field(discriminator="name")]

__all__ = [
    "ENCODERS",
    "CustomConfig",
    "DomainHeadConfig",
    "DomainHeads",
    "EncoderConfig",
    "HeadConfig",
    "Mlp",
    "MlpConfig",
    "ResNetConfig",
    "SfcnConfig",
    "Tapped",
    "TaskHead",
    "UnetConfig",
    "VggConfig",
    "VoxelHead",
    "build_encoder",
]


def build_encoder(
    config: AnyEncoder,
    shape: tuple[int, ...],
    *,
    layers: tuple[str, ...] = (),
    erasable: bool = False,
    dense: bool = False,
) -> Tapped:
    """The encoder for scans of a shape: a module from (B, 1, *shape) or (B, M) to one row a scan.

    Args:
        config: which one.
        shape: of one scan.
        layers: inner layers that domain heads look at too.
        erasable: put a linear map behind it, for method `erasure` to fit.
        dense: put the features of every voxel into the row too, for a segmentation.

    Returns:
        A module with `.width`, the width of the feature layer, and `.widths`, that and those of the inner layers.

    Raises:
        ValueError: the encoder does not take this shape, has no such layer, or gives no map where one is needed.
    """
    return Tapped(ENCODERS[config.name](config, shape), shape, layers=layers, erasable=erasable, dense=dense)
