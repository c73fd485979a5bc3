"""The losses that phases name: which head each reads, which equation it is, and how it is averaged.

Dimensions: `B` subjects of this rank's share of the batch, `N` domains.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from distunlearn import objectives
from distunlearn.methods import Part
from distunlearn.tasks import Task


class LossInput(NamedTuple):
    """What a loss may look at."""

    output: Float[Tensor, "B K"]
    """The head's output: predictions or domain logits."""
    target: Float[Tensor, "B T"]
    domain: Int[Tensor, " B"]
    subjects: Int[Tensor, " N"]
    """S_n of the global batch, all ranks together."""
    task: Task


class Loss(NamedTuple):
    """A loss: the head that it reads and this rank's share of it."""

    head: Part
    share: Callable[[LossInput], Float[Tensor, ""]]


def _task(given: LossInput) -> Tensor:
    return objectives.mean_of_each_domain(given.task.loss(given.output, given.target), given.domain, given.subjects)


def _task_pooled(given: LossInput) -> Tensor:
    return objectives.mean_of_all(given.task.loss(given.output, given.target), given.domain, given.subjects)


def _domain(given: LossInput) -> Tensor:
    return objectives.mean_of_all(
        objectives.domain_cross_entropy(given.output, given.domain), given.domain, given.subjects
    )


def _confusion(given: LossInput) -> Tensor:
    return objectives.mean_of_all(objectives.confusion(given.output), given.domain, given.subjects)


LOSSES: dict[str, Loss] = {
    "task": Loss("task_head", _task),  # eq. (1)
    "task_pooled": Loss("task_head", _task_pooled),
    "domain": Loss("domain_head", _domain),  # eq. (2), and (4) on X_u
    "confusion": Loss("domain_head", _confusion),  # eq. (3), and (5) on X_u
}
