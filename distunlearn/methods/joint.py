"""Unlearning with one encoder update: several updates of the domain heads, then L_p + β L_conf lowered at once.

The paper's three updates encode X_p once and X_u twice and move the encoder with two optimisers, under which β does
nothing when they are Adam. Here X_p and X_u are encoded together, once; the heads learn on those features, cut off from
the encoder; then one optimiser sees the sum, so that β acts. Where X_u is X_p that is one forward and one backward pass
of the encoder instead of three and two.
"""

from typing import Literal

from pydantic import Field

from distunlearn.methods.phase import SITE, Phase, Ramp, Term
from distunlearn.methods.standard import told
from distunlearn.methods.unlearning import confused
from distunlearn.strict import Strict


class JointConfig(Strict):
    """Domain heads first, then encoder and task head on the sum of the losses."""

    name: Literal["joint"] = "joint"
    beta: float = 1.0
    """Weight of the confusion loss beside the task loss; large values collapse the features."""
    ramp: Literal["step", "linear", "dann"] = "step"
    """How beta grows over the stage, after the warm-up."""
    warm_up: float = Field(0.0, ge=0, le=1)
    """Share of the stage in which the domain heads learn and nothing is confused yet."""
    domain_steps: int = Field(5, gt=0)
    """Updates of each domain head a batch, on the same features."""
    confounds: tuple[str, ...] = (SITE,)
    """What is unlearned: `site`, and names of `confounds`."""


def joint(config: JointConfig) -> tuple[Phase, ...]:
    """The heads' updates and the encoder's."""
    heads = tuple(
        told(name, repeat=config.domain_steps, share=index > 0) for index, name in enumerate(config.confounds)
    )
    terms = confused(config.confounds, config.beta, Ramp(config.warm_up, config.ramp))
    return (*heads, Phase("joint", ("encoder", "task_head"), (Term("task", "main"), *terms), share=True))
