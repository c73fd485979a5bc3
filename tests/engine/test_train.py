"""A run leaves a whole folder behind, and one that was stopped ends as if it had never been."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xxhash
from safetensors.numpy import load_file
from tiny_run import tiny

from distunlearn.config import RunConfig
from distunlearn.engine import stage
from distunlearn.engine import train as engine
from distunlearn.engine.checkpoint import newest
from distunlearn.engine.record import hold
from distunlearn.errors import UserError
from distunlearn.report.record import read_run
from distunlearn.shard_format import MANIFEST, TABLE


@pytest.fixture(scope="module")
def finished(planted_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two stages that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert engine.train(tiny(planted_shards), run)
    return run


def weights(run: Path) -> dict[str, np.ndarray]:
    """The weights of a run's last stage."""
    return load_file(run / "unlearning" / "model" / "model.safetensors")


def losses(run: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("time")} for line in lines]


def test_a_run_folder_is_whole(finished: Path) -> None:
    """Predictions of every scan, features in the same order, losses of every phase."""
    assert json.loads((finished / "STATUS.json").read_text())["state"] == "finished"
    scans = pd.read_csv(finished / "scans.tsv", sep="\t")
    for name in ("standard", "unlearning"):
        predictions = pd.read_csv(finished / name / "predictions.tsv", sep="\t")
        features = np.load(finished / name / "features.npz")
        assert set(predictions["key"]) == set(scans["key"])
        assert list(features["key"]) == list(predictions["key"])
        assert features["features"].shape == (len(predictions), 8)
        assert np.isfinite(predictions["prediction"]).all()
    last = losses(finished)[-1]
    assert {"train/task", "train/domain", "train/confusion", "val/mae/alpha", "val/mae/gamma", "val/mae"} <= set(last)


def test_every_line_says_where_the_time_went(finished: Path) -> None:
    """Seconds a step of each phase and of waiting for data; together they are no more than the whole step."""
    for line in map(json.loads, (finished / "metrics.jsonl").read_text().splitlines()):
        phases = ["task", "domain", "confusion"] if line["stage"] == "unlearning" else ["task"]
        parts = [line[f"time/{name}"] for name in (*phases, "waiting_for_data")]
        assert all(seconds > 0 for seconds in parts)
        assert sum(parts) <= line["time/seconds_per_step"]


def test_training_scans_only(finished: Path) -> None:
    """Nothing but the training split takes part in either role."""
    scans = pd.read_csv(finished / "scans.tsv", sep="\t")
    assert set(scans.loc[scans["main"] == 1, "split"]) == {"train"} == set(scans.loc[scans["unlearn"] == 1, "split"])


def cut_off(config: RunConfig, run: Path, done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until so many steps are done and then no further, as in a power cut."""
    honest, steps = stage.take_step, iter(range(1, 1000))

    def power_cut(*arguments: object, **options: object) -> object:
        if next(steps) > done:
            raise KeyboardInterrupt
        return honest(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "take_step", power_cut)
    with pytest.raises(KeyboardInterrupt):
        engine.train(config, run)
    monkeypatch.setattr(stage, "take_step", honest)


@pytest.mark.parametrize("stop_at", [3, 9, 14])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    finished: Path, planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Stopped at a step of either stage and started again: the same weights and the same metrics, bit for bit."""
    config = tiny(planted_shards, "engine.checkpoint_minutes=0")
    cut_off(config, tmp_path, stop_at, monkeypatch)
    assert json.loads((tmp_path / "STATUS.json").read_text())["state"] == "killed"
    engine.train(config, tmp_path)
    expected, found = weights(finished), weights(tmp_path)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert losses(tmp_path) == losses(finished)


def test_a_finished_run_is_left_as_it_is(finished: Path, planted_shards: Path) -> None:
    """Training a finished run again trains nothing."""
    before = weights(finished), losses(finished)
    engine.train(tiny(planted_shards), finished)
    assert losses(finished) == before[1]
    assert all(np.array_equal(before[0][name], value) for name, value in weights(finished).items())


def test_a_damaged_checkpoint_is_not_used(finished: Path, tmp_path: Path) -> None:
    """One flipped bit in the newest generation: it is named and the one before it is used."""
    folder = tmp_path / "checkpoints"
    for generation in (finished / "checkpoints").iterdir():
        (folder / generation.name).mkdir(parents=True)
        for file in generation.iterdir():
            (folder / generation.name / file.name).write_bytes(file.read_bytes())
    generations = sorted(folder.iterdir())
    tensors = generations[-1] / "tensors.safetensors"
    flipped = bytearray(tensors.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    tensors.write_bytes(flipped)
    found, damaged = newest(folder)
    assert found is not None
    assert found.state["step"] == int(generations[0].name)
    assert generations[-1].name in damaged[0]


@pytest.mark.parametrize(
    "setting",
    [
        "seed=1", "data.batch=12", "encoder.norm=group", "stages.1.epochs=3", "task_head.hidden=8",
        "engine.precision=bf16", "engine.compression=bf16", "engine.average_every=2",
    ],
)  # fmt: skip
def test_another_configuration_is_refused(setting: str, finished: Path, planted_shards: Path) -> None:
    """A folder that holds a run goes on with that run only; the setting that differs is named."""
    key = setting.split("=", maxsplit=1)[0]
    name = key if key.startswith("engine") else key.split(".", maxsplit=1)[0]
    with pytest.raises(UserError, match=f"other {name};"):
        engine.train(tiny(planted_shards, setting), finished)


def test_other_scans_are_refused(planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that were moved are taken; shards of as many other scans in their place are not."""
    shards = shutil.copytree(planted_shards, tmp_path / "moved")
    cut_off(tiny(planted_shards, "engine.checkpoint_minutes=0"), tmp_path / "run", 5, monkeypatch)
    cut_off(tiny(shards), tmp_path / "run", 3, monkeypatch)
    table = shards / "alpha" / TABLE
    trained_on = next(line for line in table.read_bytes().splitlines() if b"\ttrain\t" in line)
    changed = table.read_bytes().replace(trained_on.split(b"\t")[7], b"f" * 32)  # as if its voxels were others
    table.write_bytes(changed)
    manifest = json.loads((shards / "alpha" / MANIFEST).read_text())
    manifest["table_xxh3"] = xxhash.xxh3_128_hexdigest(changed)
    (shards / "alpha" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="the scans are not those"):
        engine.train(tiny(shards), tmp_path / "run")


def test_a_second_trainer_is_refused(finished: Path, planted_shards: Path) -> None:
    """Two trainers never write one run folder."""
    with hold(finished), pytest.raises(UserError, match="another process"):
        engine.train(tiny(planted_shards), finished)


def test_a_run_on_simulated_scans_says_so(planted_shards: Path, tmp_path: Path) -> None:
    """One simulated site is enough: the model's card and the report say it; of other shards they say nothing."""
    shards = shutil.copytree(planted_shards, tmp_path / "shards")
    manifest = json.loads((shards / "beta/manifest.json").read_text())
    for simulated in (True, False):
        (shards / "beta/manifest.json").write_text(json.dumps(manifest | {"simulated": simulated}))
        run = tmp_path / f"run-{simulated}"
        config = tiny(shards, "stages.0.epochs=1")
        engine.train(config.model_copy(update={"stages": config.stages[:1]}), run)
        assert json.loads((run / "standard/model/model.json").read_text())["simulated"] is simulated
        assert read_run(run).simulated is simulated


def test_a_stage_without_progress_ends_early(
    planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Out of patience after one epoch without a better figure, it gives way to the next stage, also where a cut off run goes on."""
    # At learning rate 0 with group norm no epoch is better than the first.
    settings = ("stages.0.patience=1", "stages.0.epochs=9", "stages.0.learning_rate=0.0", "encoder.norm=group")
    config = tiny(planted_shards, *settings, "engine.checkpoint_minutes=0")
    assert engine.train(config, tmp_path / "whole")
    said = capfd.readouterr().err
    assert "stage 'standard' ends early: val/mae did not fall for 1 epochs" in said
    assert re.search(
        r"unlearning: 8/8 steps, .*/s, 0 s left  epoch 2  task .*  domain .*  confusion .*  mae .*  domain_head .*  scans/s .*",
        said,
    )
    found = losses(tmp_path / "whole")
    assert {line["epoch"] for line in found if line["stage"] == "standard"} == {0, 1}
    assert {line["epoch"] for line in found if line["stage"] == "unlearning"} == {0, 1}
    for done in (6, 10):  # in the epoch without progress, and in the stage after it
        run = tmp_path / f"cut-{done}"
        cut_off(config, run, done, monkeypatch)
        assert engine.train(config, run)
        assert losses(run) == found


def test_a_figure_that_no_epoch_has_cannot_be_watched(planted_shards: Path, tmp_path: Path) -> None:
    """It is named, with those that there are."""
    config = tiny(planted_shards, "stages.0.patience=1", "stages.0.watch=val/mea")
    with pytest.raises(UserError, match=r"watch=val/mea is no figure of an epoch; there are .*val/mae"):
        engine.train(config, tmp_path)
