"""Which weights a stage ends with: chosen on validation scans, the same on every rank and after resuming."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ranks import on_ranks
from safetensors.numpy import load_file
from tiny_run import tiny

from distunlearn.batch import Batch
from distunlearn.engine import stage
from distunlearn.engine import train as engine
from distunlearn.engine.choosing import SCANNER, Kept
from distunlearn.engine.job import Job
from distunlearn.engine.record import Record
from distunlearn.errors import UserError
from distunlearn.shard_format import SPLITS

END = "end of a stage"
RULE = (
    "domain_head.dropout=0",
    "stages.0.epochs=1",
    "stages.1.epochs=3",
    "stages.1.choose=scanner",
    "stages.1.tolerance=0.5",
)


ASKED: list[str] = []
"""Splits whose scans `chosen` read for something else than training, and where its stages ended."""


@pytest.fixture(scope="module")
def chosen(many_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose last stage chooses."""
    run = tmp_path_factory.mktemp("runs") / "chosen"
    read, finish = Job.evaluation, stage.finish_stage

    def noted(job: Job, split: str) -> Iterator[Batch]:
        ASKED.append(split)
        return read(job, split)

    def finished(job: Job, record: Record, stage: str) -> None:
        ASKED.append(END)
        finish(job, record, stage)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Job, "evaluation", noted)
        patched.setattr(stage, "finish_stage", finished)
        assert engine.train(tiny(many_shards, *RULE), run)
    return run


def lines(run: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("time")} for line in found]


def same_weights(one: Path, other: Path, *, within: float = 0.0) -> bool:
    """Whether the last stages ended with the same weights."""
    first, second = (load_file(run / "unlearning/model/model.safetensors") for run in (one, other))
    return all(np.allclose(first[name], second[name], rtol=0, atol=within) for name in first)


def kept_epoch(epochs: list[tuple[float, float]], limit: float) -> int:
    """The epoch that is kept after these errors and distances from chance."""
    kept = Kept(limit)
    for number, (error, told) in enumerate(epochs):
        kept = kept.after(number, error, told, {"w": torch.tensor(float(number))})
    assert kept.epoch < 0 or kept.weights["w"] == kept.epoch
    return kept.epoch


def test_the_scanner_decides_among_epochs_that_are_good_enough() -> None:
    """Within the limit the least told wins, whatever its error; the first of equals; outside it the nearest."""
    epochs = [(5.0, 0.6), (5.2, 0.3), (9.0, 0.0), (5.1, 0.3), (4.0, 0.5)]
    assert kept_epoch(epochs, limit=5.3) == 1
    assert kept_epoch(epochs, limit=4.5) == 4
    assert kept_epoch([(9.0, 0.1), (7.0, 0.6), (8.0, 0.0)], limit=5.0) == 1


def test_the_authors_rule_takes_the_least_error() -> None:
    """With a limit of zero nothing but the error counts."""
    assert kept_epoch([(5.0, 0.6), (4.0, 0.6), (4.5, 0.0)], limit=0.0) == 1


def test_an_epoch_without_a_number_is_not_kept() -> None:
    """A diverged epoch is no candidate, whether it comes first or later."""
    assert kept_epoch([(math.nan, 0.0), (5.0, 0.5), (math.nan, 0.0)], limit=6.0) == 1
    assert kept_epoch([(math.nan, 0.0)], limit=6.0) == -1


def test_the_model_is_that_of_the_epoch_that_the_rule_names(chosen: Path) -> None:
    """The limit is the error before the stage and its tolerance; the model's validation error is that epoch's."""
    found = lines(chosen)
    baseline = [line["val/mae"] for line in found if line["stage"] == "standard" and "val/mae" in line][-1]
    epochs = {line["epoch"]: line for line in found if line["stage"] == "unlearning" and SCANNER in line}
    assert len(epochs) == 3
    rank = {
        number: (max(line["val/mae"] - 1.5 * baseline, 0.0), abs(line[SCANNER] - 0.5))
        for number, line in epochs.items()
    }
    best = min(rank, key=lambda number: rank[number])
    assert found[-1]["kept/epoch"] == best
    table = pd.read_csv(chosen / "unlearning/predictions.tsv", sep="\t")
    table = table[table["split"] == "val"].assign(error=lambda rows: (rows["prediction"] - rows["target"]).abs())
    assert table.groupby("site")["error"].mean().mean() == pytest.approx(epochs[best]["val/mae"], abs=1e-3)


@pytest.mark.parametrize(
    "stop_at", [15, pytest.param(9, marks=pytest.mark.slow), pytest.param(22, marks=pytest.mark.slow)]
)
def test_a_stopped_run_chooses_as_if_it_had_not_been(
    chosen: Path, many_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Stopped before, between and after the candidates: the same choice, weights and metrics, bit for bit."""
    honest, steps = stage.take_step, iter(range(1, 1000))

    def power_cut(*arguments: object, **options: object) -> object:
        if next(steps) > stop_at:
            raise KeyboardInterrupt
        return honest(*arguments, **options)  # type: ignore[arg-type]

    config = tiny(many_shards, *RULE, "engine.checkpoint_minutes=0")
    monkeypatch.setattr(stage, "take_step", power_cut)
    with pytest.raises(KeyboardInterrupt):
        engine.train(config, tmp_path)
    monkeypatch.setattr(stage, "take_step", honest)
    engine.train(config, tmp_path)
    assert same_weights(chosen, tmp_path)
    assert lines(tmp_path) == lines(chosen)


def _rank(_rank: int, _world: int, shards: Path, run: Path) -> None:
    engine.train(tiny(shards, *RULE), run)


@pytest.mark.slow
@pytest.mark.distributed
def test_two_ranks_choose_alike(chosen: Path, many_shards: Path, tmp_path: Path) -> None:
    """Two ranks keep the same epoch, and the weights of one process but for the order of sums."""
    on_ranks(2, _rank, many_shards, tmp_path)
    assert lines(tmp_path)[-1]["kept/epoch"] == lines(chosen)[-1]["kept/epoch"]
    assert same_weights(chosen, tmp_path, within=1e-4)


def test_the_test_split_is_not_looked_at(chosen: Path) -> None:
    """Until a stage has ended, no scan but those of training and validation is read."""
    assert chosen.is_dir()
    ends = [place for place, split in enumerate(ASKED) if split == END]
    after_a_stage = [split for end in ends for split in ASKED[end + 1 : end + 5]]
    assert after_a_stage == [*SPLITS, *SPLITS]
    while_training = [split for place, split in enumerate(ASKED) if not any(end <= place <= end + 4 for end in ends)]
    assert set(while_training) == {"val"}


def test_what_cannot_be_chosen_by_is_refused(planted_shards: Path, many_shards: Path, tmp_path: Path) -> None:
    """No baseline, too few people for validation, features that may not leave their site: one line with the remedy."""
    with pytest.raises(UserError, match=r"needs a stage before it, or `baseline`"):
        tiny(many_shards, "stages.0.choose=scanner")
    with pytest.raises(UserError, match=r"choose=scanner: fewer than two sites .*--val"):
        engine.train(tiny(planted_shards, *RULE), tmp_path / "few")
    with pytest.raises(UserError, match="federated features stay at their site"):
        engine.train(tiny(many_shards, *RULE, "data.placement.kind=federated"), tmp_path / "apart")
