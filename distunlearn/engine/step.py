"""One step of training: each phase of the method in turn, each reducing the gradients of its own parts only.

Dimensions: `B` subjects of this rank's share of the batch, `N` domains, `R` columns of an encoder's row, `L` of its layers.

Why it is exact. A phase's loss is a sum over subjects, weighed by the subject counts of the *global* batch
(`objectives`). DDP averages gradients over ranks; multiplying the loss by the number of ranks turns that mean into the
sum, so the gradient is that of one process holding the whole batch, however the scans are spread.

Why it is three all-reduces. Each part has its own DDP. A phase calls the parts that it updates through their DDP and
the others frozen, so that its backward pass reduces its own parameters and nothing else, while it still computes.
Forward and backward alternate strictly: a second backward through one forward would not be reduced (pytorch #47260).

A batch that does not fit may be taken in pieces: a share of a loss is a sum over subjects, so gradients of the pieces
add up to that of the batch, and only the last piece's backward pass sends anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from distunlearn.batch import Batch
from distunlearn.engine.losses import LOSSES, LossInput
from distunlearn.engine.update import Update
from distunlearn.methods import SITE, Confound, Part, Phase, Role, Term, head_of
from distunlearn.models import Tapped
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
    precision: torch.dtype | None = None
    """Half precision in which parts compute where that is safe (autocast); what they return is float32."""

    def label(self, batch: Batch, name: str) -> Float[Tensor, " B"]:
        """One label of a batch's scans."""
        return batch.target[:, (self.labels or self.task.targets).index(name)]

    def call(self, part: Part, values: Tensor, *, moves: bool) -> Tensor:
        """Run a part on values; frozen unless it `moves`: gradients go through it, not into it, and no buffer changes."""
        module = self.parts[part]
        with torch.autocast(values.device.type, self.precision, enabled=self.precision is not None):
            output: Tensor = module(values) if moves else _frozen(unwrapped(module), values)
        return output if self.precision is None else output.float()

    def shown(self, row: Float[Tensor, "B R"]) -> Float[Tensor, "B L"]:
        """What domain heads see of an encoder's row: the feature layer and the inner layers, no map of every voxel."""
        encoder = unwrapped(self.parts["encoder"])
        assert isinstance(encoder, Tapped)
        return row[:, : sum(encoder.widths)]

    @contextmanager
    def reducing(self, parts: Sequence[Part], *, now: bool) -> Iterator[None]:
        """Gradients of these parts are all-reduced in backward passes of this block only if `now`."""
        with ExitStack() as held:
            for part in parts:
                module = self.parts[part]
                if not now and isinstance(module, DistributedDataParallel):
                    held.enter_context(module.no_sync())
            yield


def _frozen(module: nn.Module, values: Tensor) -> Tensor:
    detached = {name: parameter.detach() for name, parameter in module.named_parameters()}
    running = {name: buffer.clone() for name, buffer in module.named_buffers()}
    output: Tensor = functional_call(module, detached | running, (values,))
    return output


@dataclass(frozen=True)
class RoleBatch:
    """This rank's share of one role's batch and the subject counts of the global batch."""

    batch: Batch
    subjects: Int[Tensor, " N"]
    """S_n of eq. (1), all ranks together."""


StepBatch = Mapping[Role, RoleBatch]
"""`main` and `unlearn`; the same object under both names where X_u is X_p."""


class Outcome(NamedTuple):
    """What came of one phase of a step."""

    share: Float[Tensor, ""]
    """This rank's share of the loss; the sum over ranks is the loss of the global batch."""
    gradient: Float[Tensor, ""]
    """Norm of the reduced gradient, the same on every rank."""


def take_step(
    network: Network, phases: Sequence[Phase], batches: StepBatch, updates: Mapping[str, Update],
    *, progress: float = 1.0, pieces: int = 1,
) -> dict[str, Outcome]:  # fmt: skip
    """Take one step: every phase in its order.

    Args:
        network: what is trained.
        phases: of the method.
        batches: this rank's share of the step's scans.
        updates: one a phase, by its name.
        progress: steps of the stage that are done, divided by all of them; ramps and warm-ups look at it.
        pieces: into how many each role's batch is cut; gradients add up over them and are reduced once.

    Returns:
        What came of each phase, by name.
    """
    phases = [phase for phase in phases if phase.begun(progress)]
    cut = pieces_of(batches, pieces)
    outcomes: dict[str, Outcome] = {}
    features: dict[int, Mapping[Role, Tensor]] = {}
    for index, phase in enumerate(phases):
        # The graphs of several pieces would cost the memory that cutting saves: then every phase encodes for itself.
        sharing = _sharing(phases, index) if pieces == 1 else [phase]
        if not phase.share or pieces > 1:
            features = {}
        for _ in range(phase.repeat):
            outcomes[phase.name] = _lower(network, sharing, cut, features, updates[phase.name], progress)
    return outcomes


def _sharing(phases: Sequence[Phase], index: int) -> list[Phase]:
    """A phase and those behind it that use its features."""
    return [phases[index], *takewhile(lambda following: following.share, phases[index + 1 :])]


def _lower(
    network: Network,
    sharing: Sequence[Phase],
    pieces: Sequence[StepBatch],
    features: dict[int, Mapping[Role, Tensor]],
    update: Update,
    progress: float,
) -> Outcome:
    """Lower the loss of the first of the phases once; fills in the features of pieces that are not there yet."""
    phase, shares = sharing[0], []
    moves = "encoder" in phase.updates
    update.clear()
    for index, piece in enumerate(pieces):
        with network.reducing(phase.updates, now=index == len(pieces) - 1):
            if index not in features:
                features[index] = encode(network, sharing, piece)
            inputs = features.pop(index) if moves else {role: own.detach() for role, own in features[index].items()}
            shares.append(update.backward(phase_loss(network, phase, piece, inputs, progress=progress)))
    return Outcome(torch.stack(shares).sum(), update.step())


def pieces_of(batches: StepBatch, pieces: int) -> list[StepBatch]:
    """A step's batches in pieces; some are empty where a role has fewer scans. Roles that share a batch still do."""
    if pieces == 1:
        return [batches]
    cut = {id(role.batch): _cut(role.batch, pieces) for role in batches.values()}
    return [
        {name: RoleBatch(cut[id(role.batch)][index], role.subjects) for name, role in batches.items()}
        for index in range(pieces)
    ]


def _cut(batch: Batch, pieces: int) -> list[Batch]:
    return [Batch(*parts) for parts in zip(*(part.tensor_split(pieces) for part in batch), strict=True)]


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


def encode(network: Network, phases: Sequence[Phase], batches: StepBatch) -> dict[Role, Tensor]:
    """The features of every role that the phases need, in one pass with a graph over the scans that move the encoder.

    Scans that heads only look at are encoded apart, without a graph.
    """
    batch_of = {role: batches[role].batch for phase in phases for role in phase.roles}
    distinct = {id(batch): batch for batch in batch_of.values()}
    moving = {id(batch_of[role]) for phase in phases if "encoder" in phase.updates for role in phase.roles}
    features = _encoded(network, {key: batch for key, batch in distinct.items() if key in moving}, moves=True)
    features |= _encoded(network, {key: batch for key, batch in distinct.items() if key not in moving}, moves=False)
    return {role: features[id(batch)] for role, batch in batch_of.items()}


def _encoded(network: Network, batches: Mapping[int, Batch], *, moves: bool) -> dict[int, Tensor]:
    if not batches:
        return {}
    volumes = [batch.volume for batch in batches.values()]
    joined = volumes[0] if len(volumes) == 1 else torch.cat(volumes)
    features = torch.split(network.call("encoder", joined, moves=moves), [len(volume) for volume in volumes])
    return dict(zip(batches, features, strict=True))


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside its DDP, or itself."""
    inner = getattr(module, "module", module)
    assert isinstance(inner, nn.Module)
    return inner
