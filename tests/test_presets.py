"""Every preset that predicts a label loads, and trains; that of the segmentation has its own test (engine/test_tissues.py)."""

from pathlib import Path

import pytest
import torch

from distunlearn.config import load, presets
from distunlearn.engine.job import build
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import take_step
from distunlearn.engine.updates import build_updates
from distunlearn.methods import phases_of

OF_A_LABEL = [name for name in presets() if load(None, preset=name, overrides=("shards=none",)).task.targets]


def test_presets_of_the_paper_and_beyond_are_among_them() -> None:
    """The recipe, the paper's words and its authors' code."""
    assert {"beyond", "paper", "authors"} <= set(OF_A_LABEL)


@pytest.mark.parametrize("preset", OF_A_LABEL)
def test_a_preset_takes_two_steps(planted_shards: Path, preset: str) -> None:
    """In every stage, on scans far smaller than it is meant for: losses are finite, and what is to move moves."""
    config = load(None, preset=preset, overrides=(f"shards={planted_shards}", "tracking.enabled=false", "data.batch=6"))
    runtime = Runtime(config.engine)
    job = build(config, runtime)
    for stage in config.stages:
        updates = build_updates(stage, job.network, runtime)
        before = {name: _sum(part) for name, part in job.network.parts.items()}
        phases = phases_of(stage.method)
        for batch in job.steps(0, 2):
            outcomes = take_step(job.network, phases, batch, updates, progress=0.5)
            assert all(torch.isfinite(outcome.share) for outcome in outcomes.values())
        moved = {name for name, part in job.network.parts.items() if _sum(part) != before[name]}
        assert moved == {name for phase in phases for name in phase.updates}
    runtime.close()


def _sum(part: torch.nn.Module) -> float:
    return float(sum(value.detach().double().abs().sum() for value in part.parameters()))
