"""One step of training: each phase of the method in turn, each reducing the gradients of its own parts only.

Dimensions: `B` subjects of this rank's share of the batch, `N` domains, `F` features.

Why it is exact. A phase's loss is a sum over subjects, weighed by the subject counts of the *global* batch
(`objectives`). DDP averages gradients over ranks; multiplying the loss by the number of ranks turns that mean into the
sum, so the gradient is that of one process holding the whole batch, however the scans are spread.

Why it is three all-reduces. Each part has its own DDP. A phase calls the parts that it updates through their DDP and
the others frozen, so that its backward pass reduces its own parameters and nothing else, while it still computes.
Forward and backward alternate strictly: a second backward through one forward would not be reduced (pytorch #47260).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from distunlearn.batch import Batch
from distunlearn.engine.losses import LOSSES, LossInput
from distunlearn.methods import Part, Phase, Role
from distunlearn.tasks import Task


@dataclass(frozen=True)
class Network:
    """θ_repr, θ_p and θ_d, each in its own DDP when there are several ranks."""

    parts: Mapping[Part, nn.Module]
    task: Task

    def call(self, part: Part, values: Tensor, *, moves: bool) -> Tensor:
        """Run a part on values; frozen (gradients go through it, not into it) unless it `moves`."""
        module = self.parts[part]
        if moves:
            output: Tensor = module(values)
            return output
        plain = unwrapped(module)
        frozen = {name: parameter.detach() for name, parameter in plain.named_parameters()}
        output = functional_call(plain, frozen, (values,))
        return output


@dataclass(frozen=True)
class RoleBatch:
    """This rank's share of one role's batch and the subject counts of the global batch."""

    batch: Batch
    subjects: Int[Tensor, " N"]
    """S_n of eq. (1), all ranks together."""


StepBatch = Mapping[Role, RoleBatch]
"""`main` and `unlearn`; the same object under both names where X_u is X_p."""


def take_step(
    network: Network, phases: Sequence[Phase], batches: StepBatch, optimisers: Mapping[str, Optimizer], world_size: int
) -> dict[str, Float[Tensor, ""]]:
    """Take one step: every phase in its order.

    Returns:
        This rank's share of each phase's loss by name; their sum over ranks is the loss of the global batch.
    """
    shares: dict[str, Tensor] = {}
    kept: dict[Role, Tensor] | None = None
    for phase, following in zip(phases, (*phases[1:], None), strict=True):
        keep = following is not None and following.share
        moves = "encoder" in phase.updates
        features = kept if phase.share and kept is not None else encode(network, phase, batches, moves=moves or keep)
        for repeat in range(phase.repeat):
            if moves and repeat:
                features = encode(network, phase, batches, moves=True)
            inputs = features if moves else {role: values.detach() for role, values in features.items()}
            shares[phase.name] = _update(network, phase, batches, inputs, optimisers[phase.name], world_size)
        kept = features if keep else None
    return shares


def _update(
    network: Network,
    phase: Phase,
    batches: StepBatch,
    features: Mapping[Role, Tensor],
    optimiser: Optimizer,
    world_size: int,
) -> Tensor:
    """Lower one phase's loss once; returns this rank's share of it."""
    share = phase_loss(network, phase, batches, features)
    optimiser.zero_grad()
    (share * world_size).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return share.detach()


def phase_loss(
    network: Network, phase: Phase, batches: StepBatch, features: Mapping[Role, Float[Tensor, "_ F"]]
) -> Float[Tensor, ""]:
    """This rank's share of a phase's loss: the weighted sum of its terms."""
    total = torch.zeros((), device=next(iter(features.values())).device)
    for term in phase.terms:
        loss = LOSSES[term.loss]
        output = network.call(loss.head, features[term.on], moves=loss.head in phase.updates)
        role = batches[term.on]
        total = total + term.weight * loss.share(
            LossInput(output, role.batch.target, role.batch.domain, role.subjects, network.task)
        )
    return total


def encode(network: Network, phase: Phase, batches: StepBatch, *, moves: bool) -> dict[Role, Float[Tensor, "_ F"]]:
    """The features of every role that a phase needs, in one pass through the encoder."""
    batch_of = {role: batches[role].batch for role in phase.roles}
    distinct = list({id(batch): batch for batch in batch_of.values()}.values())
    volumes = [batch.volume for batch in distinct]
    joined = volumes[0] if len(volumes) == 1 else torch.cat(volumes)
    features = torch.split(network.call("encoder", joined, moves=moves), [len(volume) for volume in volumes])
    by_id = {id(batch): part for batch, part in zip(distinct, features, strict=True)}
    return {role: by_id[id(batch)] for role, batch in batch_of.items()}


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside its DDP, or itself."""
    inner = getattr(module, "module", module)
    assert isinstance(inner, nn.Module)
    return inner
