"""The updates of a stage: an optimiser a phase, and learning rates as a pure function of the step."""

import math
from collections.abc import Callable, Mapping

from torch.optim import SGD, Adam, AdamW, Optimizer

from distunlearn.config import StageConfig
from distunlearn.engine.network import Network
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.update import Update
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


def set_rates(stage: StageConfig, updates: Mapping[str, Update], *, step: int, steps: int, per_epoch: int) -> None:
    """Set the learning rates of a step, counted from the stage's first of `steps`."""
    warmup = stage.warmup_epochs * per_epoch
    rising = min((step + 1) / warmup, 1.0) if warmup else 1.0
    share = rising * SCHEDULES[stage.schedule](step / steps)
    for name, update in updates.items():
        for group in update.optimiser.param_groups:
            group["lr"] = stage.rate(name) * share
