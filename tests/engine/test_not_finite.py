"""NaN or infinity on one rank: all take the same decision, say which scan it was, and save nothing of it."""

import json
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
from distunlearn.engine import step
from distunlearn.engine import train as engine
from distunlearn.engine.checkpoint import newest
from distunlearn.engine.job import Job
from distunlearn.engine.network import Network, unwrapped
from distunlearn.engine.share import RoleBatch
from distunlearn.methods import Phase

AT = 5
"""The step, counted from 1, in which a value is spoilt."""


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
