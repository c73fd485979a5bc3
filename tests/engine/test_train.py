"""A run leaves a whole folder behind, and one that was stopped ends as if it had never been."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from tiny_run import tiny

from distunlearn.engine import train as engine
from distunlearn.engine import trainer
from distunlearn.engine.checkpoint import newest
from distunlearn.engine.record import hold
from distunlearn.errors import UserError
from distunlearn.report.record import read_run


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
    for stage in ("standard", "unlearning"):
        predictions = pd.read_csv(finished / stage / "predictions.tsv", sep="\t")
        features = np.load(finished / stage / "features.npz")
        assert set(predictions["key"]) == set(scans["key"])
        assert list(features["key"]) == list(predictions["key"])
        assert features["features"].shape == (len(predictions), 8)
        assert np.isfinite(predictions["prediction"]).all()
    last = losses(finished)[-1]
    assert {"train/task", "train/domain", "train/confusion", "val/mae/alpha", "val/mae/gamma", "val/mae"} <= set(last)


def test_training_scans_only(finished: Path) -> None:
    """Nothing but the training split takes part in either role."""
    scans = pd.read_csv(finished / "scans.tsv", sep="\t")
    assert set(scans.loc[scans["main"] == 1, "split"]) == {"train"} == set(scans.loc[scans["unlearn"] == 1, "split"])


@pytest.mark.parametrize("stop_at", [3, 9, 14])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    finished: Path, planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Stopped at a step of either stage and started again: the same weights and the same metrics, bit for bit."""
    config = tiny(planted_shards, "engine.checkpoint_minutes=0")
    honest, steps = trainer.take_step, iter(range(1, 1000))

    def power_cut(*arguments: object, **options: object) -> object:
        if next(steps) > stop_at:
            raise KeyboardInterrupt
        return honest(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "take_step", power_cut)
    with pytest.raises(KeyboardInterrupt):
        engine.train(config, tmp_path)
    monkeypatch.setattr(trainer, "take_step", honest)
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


def test_another_configuration_is_refused(finished: Path, planted_shards: Path) -> None:
    """A folder that holds a run goes on with that run only; the setting that differs is named."""
    with pytest.raises(UserError, match="other seed"):
        engine.train(tiny(planted_shards, "seed=1"), finished)


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
