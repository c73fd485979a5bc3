"""The trainer's side: a child process that cannot hold training up."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tracked_run import Told, expected, opened, status_of, until, write_metrics

from distunlearn.errors import UserError
from distunlearn.tracking import Tracker, sync
from distunlearn.tracking.record import Request
from distunlearn.tracking.store import SQLITE

NOBODY = "http://127.0.0.1:9"
"""An address where no server listens."""
SECONDS_OF_AN_EXIT = 2 * 5.0
"""Twice what is promised: a machine that runs tests side by side gives a process its turn late."""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy


def test_mirrors_a_training_while_it_runs(run: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures, a plot, a table and a file reach MLflow; the status is the one given; no host is looked up."""
    from matplotlib.figure import Figure

    spy = run.parent / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(
        f"import socket\nsocket.getaddrinfo = lambda *a, **k: open({str(spy / 'asked')!r}, 'a').write(str(a))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(spy))
    tracker = opened(run)
    until((run / "mlflow.json").exists)
    write_metrics(run, range(30, 40))
    tracker.figure("error by age", Figure())
    tracker.table("sites", [{"site": "ixi", "mae": 4.0}, {"site": "oasis", "sd": 1.0}])
    (run / "report.html").write_text("<p>report</p>")
    tracker.artifact(run / "report.html")
    tracker.close("FINISHED")
    assert tracker.complete, (run / "tracking/mirror.log").read_text()
    assert told() == expected(40)
    assert status_of(run) == "FINISHED"
    stored = {path.name for path in (run.parent / "mlartifacts").rglob("*") if path.is_file()}
    assert stored == {"error by age.png", "sites.json", "report.html"}
    assert not (spy / "asked").exists()
    assert "compareRunsMode=CHART" in tracker.link()


def test_folders_are_cut_out_of_parameters(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested parameters are joined by dots; of a folder only its name is kept."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    opened(run).close("FINISHED")
    assert Request.of(run).params == {"seed": "1", "shards": "shards", "data.batch": "4"}


@pytest.mark.parametrize("server", ["dead", "hung", "slow", "full", "closed"], indirect=True)
def test_a_bad_server_costs_nothing(run: Path, server: str, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the server does, closing returns in time, the user learns what is missing, and `sync` loses nothing."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("http://", "http://ada:canary@"))
    tracker = opened(run)
    write_metrics(run, range(30, 35))
    until((run / "tracking/mirror.log").exists)
    start = time.monotonic()
    tracker.close("FINISHED")
    assert time.monotonic() - start < SECONDS_OF_AN_EXIT
    assert not tracker.complete
    assert "distunlearn sync" in tracker.link()
    assert "canary" not in tracker.link() + "".join(path.read_text() for path in run.rglob("*") if path.is_file())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{SQLITE}{run.parent / 'mlflow.db'}")
    sync(run)
    assert told() == expected(35)
    assert status_of(run) == "FINISHED"


def test_a_killed_training_does_not_stay_running(run: Path, told: Told) -> None:
    """After `kill -9` of the trainer its mirror tells what was written, marks the run as killed, and ends too."""
    code = f"import sys, time; from pathlib import Path; from tracked_run import opened; opened(Path({str(run)!r})); time.sleep(600)"
    trainer = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)
    until((run / "mlflow.json").exists)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    until(lambda: status_of(run) == "KILLED")
    assert told() == expected(30)


def test_signals_to_the_group_leave_the_mirror_time(run: Path, told: Told) -> None:
    """A mirror that is told to stop, as schedulers tell every process of a job, still tells the rest."""
    tracker = opened(run)
    until((run / "mlflow.json").exists)
    assert tracker._mirror is not None
    os.kill(tracker._mirror.pid, signal.SIGTERM)
    write_metrics(run, range(30, 33))
    tracker.close("KILLED")
    assert tracker.complete
    assert told() == expected(33)
    assert status_of(run) == "KILLED"


def test_a_frozen_mirror_is_left_behind(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that is stopped in its tracks is killed in time."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    tracker = opened(run)
    assert tracker._mirror is not None
    os.kill(tracker._mirror.pid, signal.SIGSTOP)
    start = time.monotonic()
    tracker.close("FINISHED")
    assert time.monotonic() - start < SECONDS_OF_AN_EXIT
    assert not tracker.complete


def test_other_ranks_are_silent(run: Path) -> None:
    """Without `enabled` nothing is started and nothing is written."""
    before = sorted(run.rglob("*"))
    tracker = opened(run, enabled=False)
    tracker.artifact(run / "metrics.jsonl")
    tracker.table("t", [])
    tracker.close("FINISHED")
    assert sorted(run.rglob("*")) == before


def test_the_trainer_never_imports_mlflow(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening and closing a tracker leaves the trainer's process without MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    code = f"import sys, time; from pathlib import Path; from tracked_run import opened; t = opened(Path({str(run)!r})); t.close('KILLED'); print('mlflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_full_disk_does_not_end_training(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the notes for MLflow cannot be written, training goes on and the tracker says that something is missing."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    tracker = opened(run)
    monkeypatch.setattr("distunlearn.tracking.tracker.write_json", _no_space)
    tracker.table("sites", [{"a": 1}])
    tracker.close("FINISHED")
    assert not tracker.complete


def test_a_folder_as_tracking_uri_is_refused_before_training(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that MLflow 3 cannot write is the user's error, told at the start."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(UserError, match="database, not in a folder"):
        opened(run)


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_resumed_run_continues_its_mlflow_run(run: Path, told: Callable[[], object]) -> None:
    """A second start on the same folder goes on in the same run of MLflow, and names from the environment hold."""
    Request(experiment="e", run_name="r").write(run)
    sync(run)
    first = json.loads((run / "mlflow.json").read_text())
    (run / "mlflow.json").unlink()
    tracker = opened(run)
    until((run / "mlflow.json").exists)
    write_metrics(run, range(28, 32), start=7000.0)
    tracker.close("FINISHED")
    assert tracker.complete
    assert json.loads((run / "mlflow.json").read_text()) == first
    assert told() == expected(32)


def test_what_is_found_out_after_training_is_added(run: Path, told: Told) -> None:
    """The mirror can be started once more, for the report and the figures that are made when training is over."""
    Request(experiment="e", run_name="r", status="FINISHED").write(run)
    tracker = Tracker.reopen(run)
    (run / "report.html").write_text("<p>report</p>")
    tracker.artifact(run / "report.html")
    until((run / "mlflow.json").exists)
    tracker.close("FINISHED")
    assert tracker.complete
    assert told() == expected(30)
    assert [path.name for path in (run.parent / "mlartifacts").rglob("*.html")] == ["report.html"]


@pytest.mark.slow
def test_a_locked_database_loses_nothing(run: Path, told: Told) -> None:
    """A database that another process holds all the time: closing ends, and `sync` tells everything when it is free."""
    with sqlite3.connect(run.parent / "mlflow.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        tracker = opened(run)
        tracker.close("FINISHED")
        assert not tracker.complete
        other.execute("ROLLBACK")
    other.close()
    sync(run)
    assert told() == expected(30)
