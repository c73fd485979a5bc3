"""The losses that phases name: what each reads, which equation it is, and how it is averaged.

Dimensions: `B` subjects of this rank's share of the batch, `N` domains.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from distunlearn import distances, objectives
from distunlearn.engine.gather import everyones, share_of_whole
from distunlearn.methods import Confound, Term
from distunlearn.tasks import Task


class LossInput(NamedTuple):
    """What a loss may look at."""

    output: Tensor
    """Predictions (B, …) of the task head, answers (B, H, K) of the domain heads, or features (B, F)."""
    target: Tensor
    """Of the task."""
    domain: Int[Tensor, " B"]
    subjects: Int[Tensor, " N"]
    """S_n of the global batch, all ranks together."""
    task: Task
    confound: Confound
    truth: Tensor
    """What the confound's head should say of each scan."""
    label: Tensor
    """At which an alignment compares scans."""
    term: Term


class Loss(NamedTuple):
    """A loss: what it reads and this rank's share of it."""

    reads: Literal["task_head", "domain_head", "features"]
    share: Callable[[LossInput], Float[Tensor, ""]]


def _task(given: LossInput) -> Tensor:
    return objectives.mean_of_each_domain(given.task.loss(given.output, given.target), given.domain, given.subjects)


def _task_pooled(given: LossInput) -> Tensor:
    return objectives.mean_of_all(given.task.loss(given.output, given.target), given.domain, given.subjects)


def _domain(given: LossInput) -> Tensor:
    loss = given.confound.adversary(given.output, given.truth)
    return objectives.mean_of_all(loss, given.domain, given.subjects)


def _confusion(given: LossInput) -> Tensor:
    return objectives.mean_of_all(given.confound.confusion(given.output), given.domain, given.subjects)


def _alignment(given: LossInput) -> Tensor:
    features, group, label = everyones(given.output, [given.truth, given.label])
    distance = distances.conditional_alignment(
        features, group.long(), label, given.term.within, whiten=given.term.whiten
    )
    return _beside_each_site(distance, given)


def _mmd(given: LossInput) -> Tensor:
    features, group = everyones(given.output, [given.truth])
    return _beside_each_site(distances.maximum_mean_discrepancy(features, group.long()), given)


def _coral(given: LossInput) -> Tensor:
    features, group = everyones(given.output, [given.truth])
    return _beside_each_site(distances.correlation_alignment(features, group.long()), given)


def _beside_each_site(distance: Tensor, given: LossInput) -> Tensor:
    """N times a distance: L_p is a sum over N domains, so that a weight says the same at three sites as at twenty-two."""
    return share_of_whole(distance * len(given.subjects))


LOSSES: dict[str, Loss] = {
    "task": Loss("task_head", _task),  # eq. (1)
    "task_pooled": Loss("task_head", _task_pooled),
    "domain": Loss("domain_head", _domain),  # eq. (2), and (4) on X_u
    "confusion": Loss("domain_head", _confusion),  # eq. (3), and (5) on X_u
    "alignment": Loss("features", _alignment),
    "mmd": Loss("features", _mmd),
    "coral": Loss("features", _coral),
}
