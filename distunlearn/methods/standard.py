"""Normal training: the task alone, by the pooled mean or by the mean of each site, eq. (1)."""

from typing import Literal

from distunlearn.methods.phase import Phase, Term
from distunlearn.strict import Strict


class StandardConfig(Strict):
    """Train encoder and task head on the task alone."""

    name: Literal["standard"] = "standard"
    loss: Literal["per_domain", "pooled"] = "per_domain"
    """`per_domain`: eq. (1), every site weighs the same; `pooled`: every scan weighs the same ("normal training")."""
    domain_head: bool = True
    """Also train the domain head, on detached features, so that a later unlearning stage starts with one that is
    ahead; the encoder does not notice."""


def standard(config: StandardConfig) -> tuple[Phase, ...]:
    """The task's update and, beside it, that of a domain head which only watches."""
    task = Phase(
        "task", ("encoder", "task_head"), (Term("task" if config.loss == "per_domain" else "task_pooled", "main"),)
    )
    watch = Phase("domain", ("domain_head",), (Term("domain", "unlearn"),))
    return (task, watch) if config.domain_head else (task,)
