"""The losses of the first steps are those that are committed: a change that should not change results does not."""

import csv
from pathlib import Path

import pytest
from tiny_run import tiny

from distunlearn.config import EngineConfig
from distunlearn.engine.job import build
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import take_step
from distunlearn.engine.updates import build_updates
from distunlearn.methods import phases_of

GOLDEN = Path(__file__).parents[1] / "golden" / "unlearning.csv"


def trajectory(shards: Path, steps: int = 6) -> list[dict[str, float]]:
    """The three losses of the first steps of unlearning."""
    config = tiny(shards, "stages.1.method.domain_steps=1", "encoder.norm=group")
    runtime = Runtime(EngineConfig())
    job = build(config, runtime)
    stage = config.stages[1]
    updates = build_updates(stage, job.network, runtime)
    rows = []
    for batches in job.steps(0, steps):
        outcomes = take_step(job.network, phases_of(stage.method), batches, updates)
        rows.append({name: outcome.share.item() for name, outcome in outcomes.items()})
    return rows


def test_golden_trajectory(planted_shards: Path) -> None:
    """Six steps of unlearning on the planted study give the committed losses."""
    with GOLDEN.open() as file:
        expected = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    found = trajectory(planted_shards)
    assert len(found) == len(expected) == 6
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
