"""The updates of a stage: an optimiser a phase, and learning rates as a pure function of the step."""

import math
from collections.abc import Callable, Mapping

from torch.optim import SGD, Adam, AdamW, Optimizer

from distunlearn.config import StageConfig
from distunlearn.engine.losses import LOSSES
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import Network
from distunlearn.engine.update import Update
from distunlearn.errors import UserError
from distunlearn.methods import phases_of

OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
}
"""Share of the learning rate that is left when a share of the stage is done."""


def build_updates(stage: StageConfig, network: Network, runtime: Runtime) -> dict[str, Update]:
    """One update a phase, over the parameters of the parts that the phase moves."""
    build_one = OPTIMISERS[stage.optimiser]
    options = {"weight_decay": stage.weight_decay} | ({"fused": True} if runtime.config.fused else {})
    return {
        phase.name: Update(
            build_one(
                [parameter for part in phase.updates for parameter in network.parts[part].parameters()],
                lr=stage.rate(phase.name),
                **options,
            ),
            runtime.world_size,
            runtime.scaler(),
        )
        for phase in phases_of(stage.method)
    }


def refuse_settings(stage: StageConfig, norm: str | None, runtime: Runtime) -> None:
    """Refuse settings of the engine that would silently change what a stage computes.

    Args:
        stage: about to be trained.
        norm: normalisation of the encoder, if it has one.
        runtime: with the engine's settings.

    Raises:
        UserError: names the setting and what it does not go with.
    """
    engine, by_batch = runtime.config, norm in {"batch", "sync"}
    if engine.pieces > 1 and by_batch:
        raise UserError(
            f"engine.pieces: encoder.norm={norm} would normalise each piece by itself; use norm group or instance, or 1 piece"
        )
    if engine.channels_last and by_batch and runtime.device.type == "cpu":
        raise UserError(
            f"engine.channels_last: encoder.norm={norm} is inexact on CPUs with it (its sums lose digits); use norm group"
        )
    pairs = [
        phase.name for phase in phases_of(stage.method) for term in phase.terms if LOSSES[term.loss].reads == "features"
    ]
    if engine.pieces > 1 and pairs:
        raise UserError(
            f"engine.pieces: phase {pairs[0]!r} of stage {stage.name!r} compares the scans of a whole batch; set pieces to 1"
        )


def set_rates(stage: StageConfig, updates: Mapping[str, Update], *, step: int, steps: int, per_epoch: int) -> None:
    """Set the learning rates of a step, counted from the stage's first of `steps`."""
    warmup = stage.warmup_epochs * per_epoch
    rising = min((step + 1) / warmup, 1.0) if warmup else 1.0
    share = rising * SCHEDULES[stage.schedule](step / steps)
    for name, update in updates.items():
        for group in update.optimiser.param_groups:
            group["lr"] = stage.rate(name) * share
