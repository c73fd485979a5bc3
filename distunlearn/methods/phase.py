"""What a method is made of: phases, each of which moves some parts of the network to lower one loss."""

from dataclasses import dataclass
from typing import Literal

Part = Literal["encoder", "task_head", "domain_head"]
"""θ_repr, θ_p and θ_d of Fig. 1."""

Role = Literal["main", "unlearn"]
"""X_p, the scans that the task is learned on, and X_u, the scans that the scanner is unlearned on."""

Loss = Literal["task", "task_pooled", "domain", "confusion"]
"""Names of `engine.losses.LOSSES`."""


@dataclass(frozen=True)
class Term:
    """One loss on one role's scans, with its weight."""

    loss: Loss
    on: Role
    weight: float = 1.0


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
    """Use the features that the phase before computed on the same scans; allowed when that phase did not move the encoder."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles whose scans this phase needs."""
        return tuple(dict.fromkeys(term.on for term in self.terms))
