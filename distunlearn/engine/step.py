"""One step of training: each phase of the method in turn, each reducing the gradients of its own parts only.

Why it is exact. A phase's loss is a sum over subjects, weighed by the subject counts of the *global* batch
(`objectives`). DDP averages gradients over ranks; multiplying the loss by the number of ranks turns that mean into the
sum, so the gradient is that of one process holding the whole batch, however the scans are spread.

Why it is three all-reduces. Each part has its own DDP. A phase calls the parts that it updates through their DDP and
the others frozen, so that its backward pass reduces its own parameters and nothing else, while it still computes.
Forward and backward alternate strictly: a second backward through one forward would not be reduced (pytorch #47260).

A batch that does not fit may be taken in pieces: a share of a loss is a sum over subjects, so gradients of the pieces
add up to that of the batch, and only the last piece's backward pass sends anything.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from distunlearn.batch import Batch
from distunlearn.engine.network import Network
from distunlearn.engine.phase_loss import phase_loss
from distunlearn.engine.share import StepBatch, pieces_of
from distunlearn.engine.update import Update
from distunlearn.methods import Phase, Role


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
