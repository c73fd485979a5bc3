"""The loss of one phase: the weighted sum of its terms, each read from the part that it is about.

Dimensions: `B` subjects of this rank's share of the batch, `N` domains.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from distunlearn.engine.losses import LOSSES, LossInput
from distunlearn.engine.network import Network
from distunlearn.engine.share import StepBatch
from distunlearn.methods import SITE, Confound, Phase, Role, Term, head_of


def phase_loss(
    network: Network, phase: Phase, batches: StepBatch, features: Mapping[Role, Tensor], *, progress: float = 1.0
) -> Float[Tensor, ""]:
    """This rank's share of a phase's loss: the weighted sum of its terms."""
    total = torch.zeros((), device=next(iter(features.values())).device)
    for term in phase.terms:
        if term.ramp.begun(progress):
            weight = 1.0 if term.reverse else term.weight * term.ramp(progress)
            total = total + weight * _term_loss(network, phase, term, batches, features[term.on], progress)
    return total


def _term_loss(
    network: Network, phase: Phase, term: Term, batches: StepBatch, features: Tensor, progress: float
) -> Float[Tensor, ""]:
    loss, role, task = LOSSES[term.loss], batches[term.on], network.task
    if term.reverse:
        features = reversed_gradient(features, term.weight * term.ramp(progress))
    part = head_of(term.confound) if loss.reads == "domain_head" else "task_head"
    moves = part in phase.updates
    output = network.shown(features) if loss.reads == "features" else network.call(part, features, moves=moves)
    confound = network.confounds.get(term.confound) or Confound.site(len(role.subjects))
    values = role.batch.domain if term.confound == SITE else network.label(role.batch, confound.column)
    label = network.label(role.batch, term.label or task.targets[0]) if term.loss == "alignment" else values
    return loss.share(
        LossInput(
            output=output, target=task.truth(role.batch), domain=role.batch.domain, subjects=role.subjects, task=task,
            confound=confound, truth=confound.truth(values, role.batch.domain), label=label, term=term,
        )
    )  # fmt: skip


class _Reversal(torch.autograd.Function):
    """The same values; a gradient that is turned round and scaled on its way back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reversed_gradient(values: Tensor, strength: float) -> Tensor:
    """The values, through which a gradient passes back as -strength times itself (Ganin et al., JMLR 2016, eq. 18)."""
    out: Tensor = _Reversal.apply(values, strength)  # type: ignore[no-untyped-call]
    return out
