"""The paper's method: three updates a batch (section 2.1), the last two on X_u (section 2.2)."""

from typing import Literal

from distunlearn.methods.phase import Phase, Term
from distunlearn.strict import Strict


class UnlearningConfig(Strict):
    """Task, domain classifier, confusion: each with its own optimiser over its own parts.

    With one Adam a loss, `alpha` and `beta` do (nearly) nothing, because Adam divides the gradient's scale out; the
    knobs that act are the learning rates and `domain_steps` (docs/deviations.md).
    """

    name: Literal["unlearning"] = "unlearning"
    alpha: float = 1.0
    """Weight of the domain loss, eq. (2)."""
    beta: float = 1.0
    """Weight of the confusion loss, eq. (3)."""
    domain_steps: int = 1
    """Updates of the domain head a batch; the paper makes one."""
    share_forward: bool = True
    """Encode X_u once for the domain and the confusion update: between them the encoder does not change, so the
    weights are the same as with the paper's re-encoding (False), at less cost."""


def unlearning(config: UnlearningConfig) -> tuple[Phase, ...]:
    """The three updates of one batch, in the paper's order."""
    return (
        Phase("task", ("encoder", "task_head"), (Term("task", "main"),)),
        Phase("domain", ("domain_head",), (Term("domain", "unlearn", config.alpha),), repeat=config.domain_steps),
        Phase("confusion", ("encoder",), (Term("confusion", "unlearn", config.beta),), share=config.share_forward),
    )
