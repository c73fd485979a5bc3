"""Methods without an adversary: the features of the sites are made alike by a loss on pairs of scans.

`conditional` compares scans at a similar label only ("at the same age, a scan of the same site must not look more alike
than another site's"); `mmd` and `coral` compare whole sites, and so also unlearn what sites differ in by their people.
Pairs cross ranks: every rank is told the features of all (a few numbers a scan, never a volume). In federated placement
that must be allowed by `share: features`.
"""

from typing import Literal

from pydantic import Field

from distunlearn.methods.phase import SITE, Loss, Phase, Ramp, Term, role_of
from distunlearn.strict import Strict


class AlignmentConfig(Strict):
    """Task loss and `weight` times the distance of the sites' features, lowered at once."""

    name: Literal["alignment"] = "alignment"
    kind: Literal["conditional", "mmd", "coral"] = "conditional"
    """conditional: kernel distance at a similar label; mmd: of whole sites; coral: of their covariances."""
    weight: float = 0.3
    """Of the distance beside one site's task loss (the sum over N sites, L_p, has N times the distance beside it). Narrow
    the feature layer (`encoder.features`) before raising it: the task's error grows with it."""
    warm_up: float = Field(0.0, ge=0, le=1)
    """Share of the stage before it begins."""
    label: str | None = None
    """conditional: the label at which scans are compared; the task's first target if not given."""
    within: float = Field(2.0, ge=0)
    """conditional: how near, in the label's unit (standard deviation of a Gaussian); 0 for the same label only."""
    whiten: bool = False
    """conditional: compare features in units of their scatter at a similar label, direction by direction, so that what
    tells the scanner cannot hide where they vary little (`distances.whitened`). For layers narrow beside the batch."""
    confounds: tuple[str, ...] = (SITE,)
    """What is unlearned: `site`, and names of `confounds` that have classes."""
    share: Literal["nothing", "features"] = "nothing"
    """Federated placement: what ranks may tell each other beside gradients and counts."""


def alignment(config: AlignmentConfig) -> tuple[Phase, ...]:
    """The one update."""
    losses: dict[str, Loss] = {"conditional": "alignment", "mmd": "mmd", "coral": "coral"}
    terms = (
        Term(losses[config.kind], role_of(name), config.weight, name, Ramp(config.warm_up),
             label=config.label, within=config.within, whiten=config.whiten)
        for name in config.confounds
    )  # fmt: skip
    return (Phase("task", ("encoder", "task_head"), (Term("task", "main"), *terms)),)
