"""The paper's method: three updates a batch (section 2.1), the last two on X_u (section 2.2)."""

from typing import Literal

from pydantic import Field

from distunlearn.methods.phase import SITE, Phase, Ramp, Term, role_of
from distunlearn.methods.standard import told
from distunlearn.strict import Strict


class UnlearningConfig(Strict):
    """Task, domain classifier, confusion: each with its own optimiser over its own parts.

    With one Adam a loss, `alpha` and `beta` do (nearly) nothing, because Adam divides the gradient's scale out; the
    knobs that act are the learning rates and `domain_steps` (docs/deviations.md). In `joint` beta acts.
    """

    name: Literal["unlearning"] = "unlearning"
    alpha: float = 1.0
    """Weight of the domain loss, eq. (2)."""
    beta: float = 1.0
    """Weight of the confusion loss, eq. (3)."""
    domain_steps: int = Field(1, gt=0)
    """Updates of the domain head a batch; the paper makes one."""
    warm_up: float = Field(0.0, ge=0, le=1)
    """Share of the stage in which the domain heads learn and nothing is confused yet."""
    share_forward: bool = True
    """Encode X_u once for the domain and the confusion update: between them the encoder does not change, so the
    weights are the same as with the paper's re-encoding (False), at less cost."""
    confounds: tuple[str, ...] = (SITE,)
    """What is unlearned: `site`, and names of `confounds`; one domain update each, one confusion update for all."""


def unlearning(config: UnlearningConfig) -> tuple[Phase, ...]:
    """The three updates of one batch, in the paper's order."""
    heads = tuple(
        told(name, weight=config.alpha, repeat=config.domain_steps, share=bool(index) and config.share_forward)
        for index, name in enumerate(config.confounds)
    )
    terms = confused(config.confounds, config.beta, Ramp(begins=config.warm_up))
    return (
        Phase("task", ("encoder", "task_head"), (Term("task", "main"),)),
        *heads,
        Phase("confusion", ("encoder",), terms, share=config.share_forward),
    )


def confused(confounds: tuple[str, ...], beta: float, ramp: Ramp) -> tuple[Term, ...]:
    """Eq. (3) and (5) of every confound."""
    return tuple(Term("confusion", role_of(name), beta, name, ramp) for name in confounds)
