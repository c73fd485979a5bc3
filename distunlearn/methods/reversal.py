"""Gradient reversal (DANN; Ganin et al., JMLR 2016): one update in which encoder and domain head want the opposite."""

from typing import Literal

from pydantic import Field

from distunlearn.methods.phase import SITE, Phase, Ramp, Term, head_of, role_of
from distunlearn.strict import Strict


class ReversalConfig(Strict):
    """Task and domain loss together; the domain loss's gradient is turned round on its way into the encoder."""

    name: Literal["reversal"] = "reversal"
    strength: float = 1.0
    """λ: what the reversed gradient is multiplied by at the end of the ramp."""
    ramp: Literal["dann", "linear", "step"] = "dann"
    """How λ grows over the stage; dann is the authors' 2 / (1 + exp(-10 p)) - 1."""
    warm_up: float = Field(0.0, ge=0, le=1)
    """Share of the stage before the domain heads join."""
    confounds: tuple[str, ...] = (SITE,)
    """What is unlearned: `site`, and names of `confounds`."""


def reversal(config: ReversalConfig) -> tuple[Phase, ...]:
    """The one update."""
    ramp = Ramp(config.warm_up, config.ramp)
    terms = [Term("domain", role_of(name), config.strength, name, ramp, reverse=True) for name in config.confounds]
    heads = [head_of(name) for name in config.confounds]
    return (Phase("task", ("encoder", "task_head", *heads), (Term("task", "main"), *terms)),)
