"""How it is trained: a method is a tuple of phases. A new method is one file here and one line in METHODS."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from distunlearn.methods.phase import Part, Phase, Role, Term
from distunlearn.methods.standard import StandardConfig, standard
from distunlearn.methods.unlearning import UnlearningConfig, unlearning

METHODS: dict[str, Callable[[Any], tuple[Phase, ...]]] = {"standard": standard, "unlearning": unlearning}

MethodConfig = Annotated[StandardConfig | UnlearningConfig, Field(discriminator="name")]

__all__ = [
    "METHODS",
    "MethodConfig",
    "Part",
    "Phase",
    "Role",
    "StandardConfig",
    "Term",
    "UnlearningConfig",
    "phases_of",
]


def phases_of(config: StandardConfig | UnlearningConfig) -> tuple[Phase, ...]:
    """The phases of a configured method."""
    return METHODS[config.name](config)
