"""How it is trained: a method is a tuple of phases. A new method is one file here and one line in METHODS."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from distunlearn.methods.alignment import AlignmentConfig, alignment
from distunlearn.methods.confound import Confound, ConfoundKind
from distunlearn.methods.erasure import ErasureConfig, erasure, leace, told_beyond
from distunlearn.methods.joint import JointConfig, joint
from distunlearn.methods.phase import SITE, Part, Phase, Ramp, Role, Term, head_of, role_of
from distunlearn.methods.reversal import ReversalConfig, reversal
from distunlearn.methods.standard import StandardConfig, standard
from distunlearn.methods.unlearning import UnlearningConfig, unlearning

METHODS: dict[str, Callable[[Any], tuple[Phase, ...]]] = {
    "standard": standard,
    "unlearning": unlearning,
    "joint": joint,
    "reversal": reversal,
    "alignment": alignment,
    "erasure": erasure,
}

AnyMethod = StandardConfig | UnlearningConfig | JointConfig | ReversalConfig | AlignmentConfig | ErasureConfig
MethodConfig = Annotated[AnyMethod, Field(discriminator="name")]

__all__ = [
    "METHODS",
    "SITE",
    "AlignmentConfig",
    "AnyMethod",
    "Confound",
    "ConfoundKind",
    "ErasureConfig",
    "JointConfig",
    "MethodConfig",
    "Part",
    "Phase",
    "Ramp",
    "ReversalConfig",
    "Role",
    "StandardConfig",
    "Term",
    "UnlearningConfig",
    "head_of",
    "leace",
    "phases_of",
    "role_of",
    "told_beyond",
]


def phases_of(config: AnyMethod) -> tuple[Phase, ...]:
    """The phases of a configured method."""
    return METHODS[config.name](config)
