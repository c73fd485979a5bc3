"""MLflow is a mirror: a training does not depend on it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import on_ranks
from safetensors.numpy import load_file
from tiny_run import tiny

from distunlearn.engine.train import train
from distunlearn.errors import UserError
from distunlearn.shard_format import MANIFEST
from distunlearn.tracking import Tracker


def lines(run: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    given = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("time")} for line in given]


def test_a_dead_server_changes_nothing(planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a server that is not there, weights and figures are, bit for bit, those of a training without tracking."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    train(tiny(planted_shards), tmp_path / "untracked")
    train(tiny(planted_shards, "tracking.enabled=true"), tmp_path / "tracked")
    assert not (tmp_path / "untracked" / "tracking").exists()
    assert (tmp_path / "tracked" / "tracking" / "request.json").exists()
    for stage in ("standard", "unlearning"):
        expected, found = (
            load_file(tmp_path / run / stage / "model/model.safetensors") for run in ("untracked", "tracked")
        )
        assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert lines(tmp_path / "tracked") == lines(tmp_path / "untracked")


def _track(rank: int, _world: int, shards: Path, folder: Path) -> None:
    honest = Tracker.open

    def noting(run: Path, **options: Any) -> Tracker:
        (folder / f"{rank}").write_text(str(options["enabled"]))
        return honest(run, **options | {"enabled": False})

    Tracker.open = noting  # type: ignore[method-assign]
    train(tiny(shards, "tracking.enabled=true", "stages.0.epochs=1", "stages.1.epochs=1"), folder / "run")


@pytest.mark.distributed
def test_only_rank_0_speaks_to_mlflow(planted_shards: Path, tmp_path: Path) -> None:
    """Of two ranks that are told to track, the first opens a tracker that is enabled."""
    on_ranks(2, _track, planted_shards, tmp_path)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["True", "False"]


def test_a_site_that_mlflow_would_refuse_is_refused_first(planted_shards: Path, tmp_path: Path) -> None:
    """A site's name that cannot be a metric's is refused before the run folder is made."""
    shards = tmp_path / "shards"
    for site in planted_shards.iterdir():
        name = "alpha (3T)" if site.name == "alpha" else site.name
        (shards / name).mkdir(parents=True)
        for file in site.iterdir():
            (shards / name / file.name).symlink_to(file)
        manifest = json.loads((site / MANIFEST).read_text()) | {"site": name}
        (shards / name / MANIFEST).unlink()
        (shards / name / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"alpha \(3T\)"):
        train(tiny(shards, "tracking.enabled=true"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
