"""From a run in progress to a snapshot and back; a snapshot belongs to one configuration."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from distunlearn.config import RunConfig
from distunlearn.engine.checkpoint import (
    Snapshot,
    newest,
    optimiser_tensors,
    random_state,
    restore_optimiser,
    restore_random_state,
)
from distunlearn.engine.choosing import Kept
from distunlearn.engine.job import Job
from distunlearn.engine.network import unwrapped
from distunlearn.engine.record import Record
from distunlearn.engine.update import Update
from distunlearn.errors import UserError
from distunlearn.run_folder import CONFIG

MAY_CHANGE = {"tracking", "engine", "shards"}
"""Settings that a run may be continued with changed: they do not touch what is learned. `shards` because folders are
moved; that the scans are the same is seen from the loader's digest."""
BINDING = ("precision", "compression", "average_every")
"""Settings of the engine that do touch what is learned, and so may not change."""


@dataclass(frozen=True)
class Patience:
    """How a watched figure has fared, epoch by epoch."""

    best: float = math.inf
    stale: int = 0
    """Epochs since it was at its best."""

    def after(self, value: float) -> "Patience":
        """When an epoch has ended with a value."""
        return Patience(value, 0) if value < self.best else Patience(self.best, self.stale + 1)


@dataclass(frozen=True)
class Position:
    """Where a run is."""

    stage: int
    """Index of the stage in progress; the number of stages when all are done."""
    step: int
    """Steps that are done, over all stages."""
    patience: Patience = field(default_factory=Patience)
    """How long the stage has not improved."""
    kept: Kept | None = None
    """The weights that the stage would end with, where they need not be its last."""


def snapshot(job: Job, record: Record, updates: Mapping[str, Update], position: Position) -> Snapshot:
    """Everything that is needed to go on from here; to be called by every rank."""
    tensors = {f"network/{name}": value for name, value in weights(job).items()}
    tensors |= {f"kept/{name}": value for name, value in position.kept.weights.items()} if position.kept else {}
    groups: dict[str, Any] = {}
    for name, update in updates.items():
        moments, groups[name] = optimiser_tensors(name, update.optimiser)
        tensors |= moments
    tensors["random"] = job.runtime.gather_rows(random_state(job.runtime.device)[None])
    state = {
        "stage": position.stage, "step": position.step, "patience": asdict(position.patience), "optimisers": groups,
        "kept": position.kept and [position.kept.limit, position.kept.rank, position.kept.epoch],
        "scalers": {name: update.scaler.state_dict() for name, update in updates.items() if update.scaler},
        "metrics_bytes": record.length, "scans": job.loader.digest(), "world_size": job.runtime.world_size,
    }  # fmt: skip
    return Snapshot(tensors, state)


def newest_of_main(folder: Path, job: Job, record: Record) -> Snapshot | None:
    """Rank 0's newest whole snapshot, on every rank: the run folder may be on its machine only."""
    found, damaged = newest(folder) if record.is_main else (None, [])
    for line in damaged:
        record.say(line)
    content = job.runtime.from_main(found.packed() if found and job.runtime.world_size > 1 else b"")
    return Snapshot.unpacked(content) if content else found


def restore(found: Snapshot, job: Job, record: Record, updates: Mapping[str, Update]) -> Position:
    """Put network, optimisers, random state and metrics back to where the snapshot was taken.

    Raises:
        UserError: the shards hold other scans than those of the snapshot.
    """
    if found.state["scans"] != job.loader.digest():
        raise UserError(
            f"{record.run}: the scans are not those that this run was trained on so far; give another --out"
        )
    put_weights(job, _below("network/", found.tensors))
    for name, update in updates.items():
        if name in found.state["optimisers"]:
            restore_optimiser(name, update.optimiser, found.tensors, found.state["optimisers"][name])
        if update.scaler is not None and name in found.state["scalers"]:
            update.scaler.load_state_dict(found.state["scalers"][name])
    if found.state["world_size"] == job.runtime.world_size:
        restore_random_state(found.tensors["random"][job.runtime.rank], job.runtime.device)
    record.cut(found.state["metrics_bytes"])
    return Position(
        found.state["stage"], found.state["step"], Patience(**found.state["patience"]), _kept(found, job.runtime.device)
    )


def _kept(found: Snapshot, device: torch.device) -> Kept | None:
    if found.state["kept"] is None:
        return None
    limit, rank, epoch = found.state["kept"]
    kept = {name: value.to(device) for name, value in _below("kept/", found.tensors).items()}
    return Kept(limit, (rank[0], rank[1]), epoch, kept)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def weights(job: Job) -> dict[str, Tensor]:
    """Parameters and buffers of the network as PART/NAME: the very tensors, not copies."""
    return {
        f"{part}/{name}": value
        for part, module in job.network.parts.items()
        for name, value in unwrapped(module).state_dict().items()
    }


def put_weights(job: Job, tensors: Mapping[str, Tensor]) -> None:
    """The reverse of `weights`."""
    for part, module in job.network.parts.items():
        unwrapped(module).load_state_dict(_below(f"{part}/", tensors))


def refuse_other_run(run: Path, config: RunConfig) -> None:
    """Refuse to go on in a folder in which another configuration was trained.

    Raises:
        UserError: names the settings that differ.
    """
    path = run / CONFIG
    if not path.is_file():
        return
    before, now = yaml.safe_load(path.read_text()), yaml.safe_load(config.dump())
    differ = sorted(
        key for key in before.keys() | now.keys() if key not in MAY_CHANGE and before.get(key) != now.get(key)
    )
    differ += [f"engine.{key}" for key in BINDING if before["engine"].get(key) != now["engine"][key]]
    if differ:
        raise UserError(
            f"{run}: holds a run with other {', '.join(differ)}; give another --out, or the same settings to go on with it"
        )
