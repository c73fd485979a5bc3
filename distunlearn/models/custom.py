"""The user's own network, by its import path.

The contract, in three lines: it is built as `Class(**arguments)`, or `Class(shape=shape, **arguments)` where it has a
parameter `shape`; it takes (B, 1, W, H, D) float32 volumes, or (B, M) rows; it gives (B, F) features, the same F always,
or for a segmentation a map of them as large as the volume, (B, F, W, H, D).
"""

import inspect
from importlib import import_module
from typing import Any, Literal

from pydantic import Field
from torch import nn

from distunlearn.strict import Strict


class CustomConfig(Strict):
    """Any `torch.nn.Module` that can be imported. Its module is run when it is imported: name only code that you trust."""

    name: Literal["custom"] = "custom"
    path: str = Field(pattern=r"^[\w.]+:[\w.]+$")
    """`package.module:Class`, importable where training runs (set PYTHONPATH, or install it)."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What the class is called with."""


def custom(config: CustomConfig, shape: tuple[int, ...]) -> nn.Module:
    """Import and build it.

    Raises:
        ValueError: it cannot be imported or built, or is no module.
    """
    place, _, name = config.path.partition(":")
    try:
        made: Any = import_module(place)
        for part in name.split("."):
            made = getattr(made, part)
        takes_shape = "shape" in inspect.signature(made).parameters
        network = made(**({"shape": shape} if takes_shape else {}), **config.arguments)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{config.path} cannot be built ({error})") from None
    if not isinstance(network, nn.Module):
        raise ValueError(f"{config.path} gives {type(network).__name__}, not a torch.nn.Module")
    return network
