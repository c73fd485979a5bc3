"""What a method is made of: phases, each of which moves some parts of the network to lower one loss."""

import math
from dataclasses import dataclass
from typing import Literal

Part = str
"""θ_repr, θ_p and θ_d of Fig. 1: `encoder`, `task_head`, `domain_head`; and `domain_head_NAME` for a further confound."""

Role = str
"""`main`, X_p, the scans that the task is learned on; `unlearn`, X_u, those that the scanner is unlearned on; and
`unlearn_NAME`, the X_u of a further confound."""

SITE = "site"
"""The confound that is always there."""

Loss = Literal["task", "task_pooled", "domain", "confusion", "alignment", "mmd", "coral"]
"""Names of `engine.losses.LOSSES`."""


def head_of(confound: str) -> Part:
    """The part that tells a confound from the features."""
    return "domain_head" if confound == SITE else f"domain_head_{confound}"


def role_of(confound: str) -> Role:
    """The scans that a confound is unlearned on."""
    return "unlearn" if confound == SITE else f"unlearn_{confound}"


@dataclass(frozen=True)
class Ramp:
    """How a weight grows over a stage: a pure function of its progress, so that a resumed run needs no memory of it."""

    begins: float = 0.0
    """Share of the stage before which the term is not there at all."""
    shape: Literal["step", "linear", "dann"] = "step"
    """step: at once; linear: in a line; dann: 2 / (1 + exp(-10 p)) - 1, as Ganin et al. (JMLR 2016)."""

    def begun(self, progress: float) -> bool:
        """Whether the term is there."""
        return progress >= self.begins

    def __call__(self, progress: float) -> float:
        """The factor on the weight, from 0 to 1.

        Args:
            progress: steps of the stage that are done, divided by all of them.

        Example:
            >>> Ramp(begins=0.5)(0.4), Ramp(begins=0.5)(0.5), Ramp(begins=0.5, shape="linear")(0.75)
            (0.0, 1.0, 0.5)
        """
        if not self.begun(progress):
            return 0.0
        since = (progress - self.begins) / (1 - self.begins) if self.begins < 1 else 1.0
        return {"step": 1.0, "linear": since, "dann": 2 / (1 + math.exp(-10 * since)) - 1}[self.shape]


AT_ONCE = Ramp()


@dataclass(frozen=True)
class Term:
    """One loss on one role's scans, with its weight."""

    loss: Loss
    on: Role
    weight: float = 1.0
    confound: str = SITE
    """What is told, confused or aligned."""
    ramp: Ramp = AT_ONCE
    reverse: bool = False
    """Gradient reversal: the head lowers the loss with weight 1, what is before it raises it with `weight` × ramp."""
    label: str | None = None
    """Alignment: the label at which scans are compared; the task's first target if not given."""
    within: float = 1.0
    """Alignment: how near in the label, in its unit: the standard deviation of a Gaussian. 0: the same label."""
    whiten: bool = False
    """Alignment: compare features in units of their scatter at a similar label."""


@dataclass(frozen=True)
class Phase:
    """One update: lower the sum of the terms by moving the parts in `updates`, and no other part.

    A part that a term needs but the phase does not update is passed through frozen: the gradient goes through it, not
    into it, and where nothing before it is updated either, no graph is built.
    """

    name: str
    updates: tuple[Part, ...]
    terms: tuple[Term, ...]
    repeat: int = 1
    """How many times in a row, on the same batch."""
    share: bool = False
    """Use the features that the phases before computed on the same scans; allowed when they did not move the encoder."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles whose scans this phase needs."""
        return tuple(dict.fromkeys(term.on for term in self.terms))

    def begun(self, progress: float) -> bool:
        """Whether any of its terms is there; a phase without one is left out."""
        return any(term.ramp.begun(progress) for term in self.terms)
