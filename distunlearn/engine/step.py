"""One step of training: each phase of the method in turn, each reducing the gradients of its own parts only.

Dimensions: `B` subjects of this rank's share of the batch, `N` domains.

Why it is exact. A phase's loss is a sum over subjects, weighed by the subject counts of the *global* batch
(`objectives`). DDP averages gradients over ranks; multiplying the loss by the number of ranks turns that mean into the
sum, so the gradient is that of one process holding the whole batch, however the scans are spread.

Why it is three all-reduces. Each part has its own DDP. A phase calls the parts that it updates through their DDP and
the others frozen, so that its backward pass reduces its own parameters and nothing else, while it still computes.
Forward and backward alternate strictly: a second backward through one forward would not be reduced (pytorch #47260).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from distunlearn.batch import Batch
from distunlearn.engine.losses import LOSSES, LossInput
from distunlearn.methods import SITE, Confound, Part, Phase, Role, Term, head_of
from distunlearn.models import pooled
from distunlearn.tasks import Task


@dataclass(frozen=True)
class Network:
    """θ_repr, θ_p and the θ_d of every confound, each in its own DDP when there are several ranks."""

    parts: Mapping[Part, nn.Module]
    task: Task
    confounds: Mapping[str, Confound] = field(default_factory=dict)
    """By name; the site if not given."""
    labels: tuple[str, ...] = ()
    """Names of the columns of `Batch.target`: the task's targets first. Those alone if not given."""

    def label(self, batch: Batch, name: str) -> Float[Tensor, " B"]:
        """One label of a batch's scans."""
        return batch.target[:, (self.labels or self.task.targets).index(name)]

    def call(self, part: Part, values: Tensor, *, moves: bool) -> Tensor:
        """Run a part on values; frozen unless it `moves`: gradients go through it, not into it, and no buffer changes."""
        module = self.parts[part]
        if moves:
            output: Tensor = module(values)
            return output
        plain = unwrapped(module)
        frozen = {name: parameter.detach() for name, parameter in plain.named_parameters()}
        running = {name: buffer.clone() for name, buffer in plain.named_buffers()}
        through: Tensor = functional_call(plain, frozen | running, (values,))
        return through


@dataclass(frozen=True)
class RoleBatch:
    """This rank's share of one role's batch and the subject counts of the global batch."""

    batch: Batch
    subjects: Int[Tensor, " N"]
    """S_n of eq. (1), all ranks together."""


StepBatch = Mapping[Role, RoleBatch]
"""`main` and `unlearn`; the same object under both names where X_u is X_p."""


def take_step(
    network: Network, phases: Sequence[Phase], batches: StepBatch, optimisers: Mapping[str, Optimizer], world_size: int,
    *, progress: float = 1.0,
) -> dict[str, Float[Tensor, ""]]:  # fmt: skip
    """Take one step: every phase in its order.

    Args:
        network: what is trained.
        phases: of the method.
        batches: this rank's share of the step's scans.
        optimisers: one a phase.
        world_size: number of ranks.
        progress: steps of the stage that are done, divided by all of them; ramps and warm-ups look at it.

    Returns:
        This rank's share of each phase's loss by name; their sum over ranks is the loss of the global batch.
    """
    phases = [phase for phase in phases if phase.begun(progress)]
    shares: dict[str, Tensor] = {}
    features: Mapping[Role, Tensor] = {}
    for index, phase in enumerate(phases):
        moves = "encoder" in phase.updates
        if not (phase.share and features):
            features = encode(network, _sharing(phases, index), batches)
        for repeat in range(phase.repeat):
            if moves and repeat:
                features = encode(network, [phase], batches)
            inputs = features if moves else {role: values.detach() for role, values in features.items()}
            share = phase_loss(network, phase, batches, inputs, progress=progress)
            shares[phase.name] = _lower(share, optimisers[phase.name], world_size)
        features = {} if moves else features
    return shares


def _sharing(phases: Sequence[Phase], index: int) -> list[Phase]:
    """A phase and those behind it that use its features."""
    return [phases[index], *takewhile(lambda following: following.share, phases[index + 1 :])]


def _lower(share: Float[Tensor, ""], optimiser: Optimizer, world_size: int) -> Float[Tensor, ""]:
    """Lower one phase's loss once; returns this rank's share of it."""
    optimiser.zero_grad()
    (share * world_size).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return share.detach()


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
    output = pooled(features) if loss.reads == "features" else network.call(part, features, moves=part in phase.updates)
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


def encode(network: Network, phases: Sequence[Phase], batches: StepBatch) -> dict[Role, Tensor]:
    """The features of every role that the phases need, in one pass; with a graph if one of them moves the encoder."""
    batch_of = {role: batches[role].batch for phase in phases for role in phase.roles}
    distinct = list({id(batch): batch for batch in batch_of.values()}.values())
    volumes = [batch.volume for batch in distinct]
    joined = volumes[0] if len(volumes) == 1 else torch.cat(volumes)
    moves = any("encoder" in phase.updates for phase in phases)
    features = torch.split(network.call("encoder", joined, moves=moves), [len(volume) for volume in volumes])
    by_id = {id(batch): part for batch, part in zip(distinct, features, strict=True)}
    return {role: by_id[id(batch)] for role, batch in batch_of.items()}


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside its DDP, or itself."""
    inner = getattr(module, "module", module)
    assert isinstance(inner, nn.Module)
    return inner
