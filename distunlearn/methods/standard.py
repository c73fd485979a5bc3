"""Normal training: the task alone, by the pooled mean or by the mean of each site, eq. (1)."""

from typing import Literal

from pydantic import Field

from distunlearn.methods.phase import SITE, Loss, Phase, Term, head_of, role_of
from distunlearn.strict import Strict


class StandardConfig(Strict):
    """Train encoder and task head on the task alone."""

    name: Literal["standard"] = "standard"
    loss: Literal["per_domain", "pooled"] = "per_domain"
    """`per_domain`: eq. (1), every site weighs the same; `pooled`: every scan weighs the same ("normal training")."""
    domain_head: bool = True
    """Also train the domain heads, on detached features, so that a later unlearning stage starts with heads that are
    ahead; the encoder does not notice."""
    teach: float = Field(0.0, ge=0)
    """α: above 0 the encoder learns to tell the confounds as well, by one optimiser over the sum of the losses, as the
    authors' code for three sites begins; a head that only watches leaves it alone."""
    confounds: tuple[str, ...] = (SITE,)
    """What those heads tell: `site`, and names of `confounds`."""


def standard(config: StandardConfig) -> tuple[Phase, ...]:
    """The task's update, and in it or before it, on the same features, those of the domain heads."""
    loss: Loss = "task" if config.loss == "per_domain" else "task_pooled"
    if config.domain_head and config.teach:
        heads = [head_of(name) for name in config.confounds]
        terms = [Term("domain", role_of(name), config.teach, name) for name in config.confounds]
        return (Phase("task", ("encoder", "task_head", *heads), (Term(loss, "main"), *terms)),)
    watching = [told(name, share=index > 0) for index, name in enumerate(config.confounds) if config.domain_head]
    return (*watching, Phase("task", ("encoder", "task_head"), (Term(loss, "main"),), share=bool(watching)))


def told(confound: str, *, weight: float = 1.0, repeat: int = 1, share: bool) -> Phase:
    """The update of one confound's head, eq. (2) and (4)."""
    name = "domain" if confound == SITE else f"domain_{confound}"
    term = Term("domain", role_of(confound), weight, confound)
    return Phase(name, (head_of(confound),), (term,), repeat=repeat, share=share)
