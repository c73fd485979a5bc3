"""Whatever happens to one rank, all end soon, the first cause is what the user reads, and nothing that was saved is lost."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from ranks import end_of, start
from tiny_run import tiny
from torch import Tensor

from distunlearn.batch import Batch
from distunlearn.engine import faults, step, trainer
from distunlearn.engine import train as engine
from distunlearn.engine.checkpoint import newest
from distunlearn.engine.job import Job
from distunlearn.engine.step import Network, RoleBatch, unwrapped
from distunlearn.methods import Phase

AT = 5
"""The step, counted from 1, in the middle of which something happens."""


def _at_step(action: Any) -> None:
    """Do something in the middle of step AT of this process."""
    honest, steps = trainer.take_step, iter(range(1, 1000))

    def disturbed(*arguments: Any, **options: Any) -> Any:
        if next(steps) == AT:
            action()
        return honest(*arguments, **options)

    trainer.take_step = disturbed


def _raise() -> None:
    raise ValueError("the scan of the third man")


def _frozen() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


ACCIDENTS: dict[str, tuple[Any, str]] = {
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), faults.ENDED),
    "left": (lambda: os._exit(0), faults.ENDED),
    "raises": (_raise, "ValueError: the scan of the third man"),
    "frozen": (_frozen, faults.ENDED),
}


def _train(rank: int, _world: int, shards: Path, run: Path, victim: int, accident: str) -> None:
    if rank == victim:
        _at_step(ACCIDENTS[accident][0])
    faults.LISTEN = 1.5
    timeout = 0.05 if accident == "frozen" else 1.0
    engine.train(tiny(shards, "engine.checkpoint_minutes=0", f"engine.timeout_minutes={timeout}"), run)


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("accident", "world", "victim"),
    [
        ("killed", 3, 1), ("killed", 2, 0), ("raises", 3, 2), ("raises", 2, 0), ("frozen", 2, 1),
        pytest.param("killed", 3, 0, marks=pytest.mark.slow),
        pytest.param("killed", 3, 2, marks=pytest.mark.slow),
        pytest.param("left", 2, 1, marks=pytest.mark.slow),
        pytest.param("left", 3, 0, marks=pytest.mark.slow),
        pytest.param("raises", 3, 0, marks=pytest.mark.slow),
        pytest.param("frozen", 3, 0, marks=pytest.mark.slow),
        pytest.param("frozen", 3, 2, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_all_ranks_end_and_name_the_first_cause(
    accident: str, world: int, victim: int, planted_shards: Path, tmp_path: Path
) -> None:
    """A rank is killed, leaves, raises or freezes: the others end with an error, each naming that rank, and so does STATUS.json."""
    run = tmp_path / "run"
    ranks = start(world, _train, planted_shards, run, victim, accident, log=tmp_path / "log")
    others = [rank for rank in range(world) if rank != victim]
    statuses = end_of([ranks[rank] for rank in others])
    ranks[victim].kill()
    assert statuses == [2] * len(others)
    for rank in others:
        last = (tmp_path / "log" / str(rank)).read_text().strip().splitlines()[-1]
        assert last.startswith(f"distunlearn: rank {victim}: {ACCIDENTS[accident][1]}"), last
    status = json.loads((run / "STATUS.json").read_text())
    assert (status["state"], status["rank"], status["reason"]) == ("failed", victim, ACCIDENTS[accident][1])
    found, damaged = newest(run / "checkpoints")
    assert found is not None
    assert found.state["step"] == AT - 1
    assert not damaged


def _spoil_scan(what: str, role: str) -> None:
    """Let the first scan of a role's share of step AT hold a value that is not finite."""
    honest = Job.steps

    def steps(self: Job, first: int, stop: int) -> Iterator[Any]:
        for number, batches in enumerate(honest(self, first, stop), first + 1):
            yield dict(batches) | ({role: _spoilt(batches[role], what)} if number == AT else {})

    Job.steps = steps  # type: ignore[method-assign]


def _spoilt(own: RoleBatch, what: str) -> RoleBatch:
    batch = Batch(*(part.clone() for part in own.batch))
    {"voxel": batch.volume, "target": batch.target}[what][0] = torch.nan if what == "voxel" else torch.inf
    return RoleBatch(batch, own.subjects)


def _spoil_weight(phase: str, part: str) -> None:
    """Let a weight of a part not be finite when a phase of step AT begins."""
    honest, calls = step.phase_loss, iter(range(1, 1000))

    def phase_loss(network: Network, now: Phase, *rest: Any, **named: Any) -> Tensor:
        if now.name == phase and next(calls) == AT:
            with torch.no_grad():
                next(unwrapped(network.parts[part]).parameters()).fill_(torch.inf)
        return honest(network, now, *rest, **named)

    step.phase_loss = phase_loss


SPOILS: dict[str, tuple[Any, str]] = {
    "voxel of X_p": (lambda: _spoil_scan("voxel", "main"), "a voxel of scan"),
    "voxel of X_u": (lambda: _spoil_scan("voxel", "unlearn"), "a voxel of scan"),
    "target": (lambda: _spoil_scan("target", "main"), "a target of scan"),
    "weight in the task phase": (lambda: _spoil_weight("task", "task_head"), "diverged"),
    "weight in the domain phase": (lambda: _spoil_weight("domain", "domain_head"), "diverged"),
    "weight in the confusion phase": (lambda: _spoil_weight("confusion", "domain_head"), "diverged"),
}


def _train_spoilt(rank: int, _world: int, shards: Path, run: Path, victim: int, spoil: str) -> None:
    if rank == victim:
        SPOILS[spoil][0]()
    method = "stages.0.method={name: unlearning, domain_steps: 1}"
    engine.train(tiny(shards, "engine.checkpoint_minutes=0", method, "stages.0.learning_rate=0.001"), run)


@pytest.mark.distributed
@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_what_is_not_finite_stops_all_ranks_alike(
    spoil: str, victim: int, planted_shards: Path, tmp_path: Path
) -> None:
    """NaN or infinity in a scan, a target or a weight of one rank: every rank stops with the same line, naming site and scan, and nothing of it is saved."""
    run = tmp_path / "run"
    ranks = start(2, _train_spoilt, planted_shards, run, victim, spoil, log=tmp_path / "log")
    assert end_of(ranks) == [2, 2]
    lines = [(tmp_path / "log" / str(rank)).read_text().strip().splitlines()[-1] for rank in range(2)]
    assert lines[0] == lines[1]
    assert SPOILS[spoil][1] in lines[0]
    status = json.loads((run / "STATUS.json").read_text())
    assert status["state"] == "failed"
    assert status["reason"] == lines[0].removeprefix("distunlearn: ")
    if "scan" in SPOILS[spoil][1]:
        scans = pd.read_csv(run / "scans.tsv", sep="\t").set_index("key")
        key = lines[0].split(" of scan ")[1].split()[0]
        assert (status["rank"], status["site"]) == (victim, scans.loc[key, "site"])
        assert f"site {scans.loc[key, 'site']}:" in lines[0]
    found, _ = newest(run / "checkpoints")
    assert found is not None
    assert found.state["step"] == AT - 1
    assert all(value.isfinite().all() for value in found.tensors.values())
