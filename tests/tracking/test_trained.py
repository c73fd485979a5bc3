"""Whatever MLflow's server does to a training: the same bits, a prompt end, and nothing lost."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_tracker import SECONDS_OF_AN_EXIT
from tiny_run import tiny

from distunlearn.engine.train import train
from distunlearn.run_folder import METRICS, STATUS
from distunlearn.tracking import sync
from distunlearn.tracking.store import SQLITE, Store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
TIMES = {"task", "domain", "confusion", "waiting_for_data", "seconds_per_step"}


@pytest.fixture(scope="module")
def untracked(planted_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that tells nobody."""
    run = tmp_path_factory.mktemp("runs") / "untracked"
    train(tiny(planted_shards), run)
    return run


@pytest.mark.parametrize("server", ["hung", "slow", "full", "closed"], indirect=True)
def test_a_training_with_a_bad_server_is_one_without(
    server: str, untracked: Path, database: Path, planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are the same bits, the process ends in time, and `sync` brings every figure to a server that works."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    run = tmp_path / "run"
    train(tiny(planted_shards, "tracking.enabled=true"), run)
    assert time.time() - json.loads((run / STATUS).read_text())["time"] < SECONDS_OF_AN_EXIT
    expected, found = (load_file(folder / "unlearning/model/model.safetensors") for folder in (untracked, run))
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    shutil.copy(database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{SQLITE}{tmp_path / 'mlflow.db'}")
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    assert sync(run) == sum("/" in key for line in lines for key in line)
    client = Store(f"{SQLITE}{tmp_path / 'mlflow.db'}").client
    (only,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert {f"time/{name}" for name in TIMES} <= set(only.data.metrics)
