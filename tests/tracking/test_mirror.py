"""Files of a run -> MLflow, once."""

import json
import multiprocessing
import socket
import sqlite3
from pathlib import Path

import pytest
from tracked_run import Told, expected, write_metrics

from distunlearn.errors import UserError
from distunlearn.tracking import mirror as mirror_module
from distunlearn.tracking import sync
from distunlearn.tracking.mirror import Mirror
from distunlearn.tracking.record import Request
from distunlearn.tracking.store import SQLITE, Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy


def test_sync_tells_every_point_once(run: Path, told: Told) -> None:
    """Syncing twice tells MLflow all points of the file, and none of them twice."""
    assert sync(run) == 60
    assert sync(run) == 0
    assert told() == expected(30)


def test_a_resumed_training_repeats_steps_without_doubling_them(run: Path, told: Told) -> None:
    """Steps that a resumed training writes again, at another time, stay one point; new ones join the same MLflow run."""
    sync(run)
    write_metrics(run, range(25, 40), start=9000.0)
    assert sync(run) == 2 * 10
    assert told() == expected(40)


def test_repeated_steps_in_one_look_are_one_point(run: Path, told: Told) -> None:
    """A step that is in the file twice before MLflow ever saw it is told once."""
    write_metrics(run, range(20, 30), start=9000.0)
    assert sync(run) == 60
    assert told() == expected(30)


@pytest.mark.parametrize("answered", [False, True])
def test_a_lost_answer_neither_loses_nor_doubles(
    run: Path, told: Told, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    """When a request fails, whether or not MLflow had already written it, the next try leaves every point once."""
    real, calls = Store.points, []

    def fails_second(self: Store, run_id: str, points: object) -> None:
        calls.append(1)
        if answered or len(calls) != 2:
            real(self, run_id, points)
        if len(calls) == 2:
            raise ConnectionError

    monkeypatch.setattr(Store, "points", fails_second)
    monkeypatch.setattr(mirror_module, "MOST_METRICS", 20)
    with pytest.raises(UserError, match="did not take it"):
        sync(run)
    sync(run)
    assert told() == expected(30)


def test_the_run_is_found_again_when_its_creation_was_not_noted(run: Path, told: Told) -> None:
    """A run of MLflow that was created just before a kill, with no note of it left, is continued and not doubled."""
    sync(run)
    (run / "mlflow.json").unlink()
    sync(run)
    assert told() == expected(30)


def test_half_a_line_waits_and_a_torn_one_is_passed_over(run: Path, told: Told) -> None:
    """A line that is being written is read when it is whole; what a killed process left torn does not stop the rest."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"time": 1, "step": 30, "val/mae/oas')
    Request(experiment="e", run_name="r").write(run)
    follower = Mirror(run)
    assert follower.catch_up() == 60
    with (run / "metrics.jsonl").open("a") as file:
        file.write("\n")
    write_metrics(run, range(30, 32))
    assert follower.catch_up() == 4
    assert told() == expected(32)


def test_figures_are_not_lost_when_the_file_is_cut_back(run: Path, told: Told) -> None:
    """A training that goes on from a checkpoint cuts the file and writes past the old end: every later step is told."""
    Request(experiment="e", run_name="r").write(run)
    follower = Mirror(run)
    follower.catch_up()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:20]))
    write_metrics(run, range(20, 45), start=9000.0)
    assert follower.catch_up() == 2 * 15
    assert told() == expected(45)


def test_keys_that_are_no_metrics_are_left_out(run: Path, told: Told) -> None:
    """Text, keys without a slash and names that MLflow refuses are left in the file and do not stop the others."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write(
            json.dumps({
                "time": 1,
                "step": 30,
                "a/text": "x",
                "lr": 0.1,
                "val/mae/a#b": 1.0,
                "train/task": float("nan"),
            })
            + "\n"
        )
    assert sync(run) == 61
    assert set(told()) == {*expected(30), "train/task"}


def test_a_locked_database_is_one_line_for_the_user(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another process holds ends `sync` with one line, without the password of its address."""
    monkeypatch.setattr(
        Store, "experiment", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("http://ada:secret@x locked"))
    )
    with pytest.raises(UserError) as raised:
        sync(run)
    assert "locked" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_folder_without_metrics_is_refused(tmp_path: Path) -> None:
    """`sync` on something else than a run folder says so."""
    with pytest.raises(UserError, match="nothing to tell"):
        sync(tmp_path)


def test_a_folder_as_tracking_uri_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow 3 does not write folders any more; we say it before training, not in a log."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(UserError, match="database, not in a folder"):
        sync(run)


def test_tags_and_parameters_name_nobody(run: Path) -> None:
    """User, host, source file and folders stay out of MLflow; the parameters given are in it."""
    Request(experiment="e", run_name="r", params={"seed": "1"}, tags={"stage": "x"}, status="FINISHED").write(run)
    sync(run)
    client = Store(f"{SQLITE}{run.parent / 'mlflow.db'}").client
    found = client.get_run(json.loads((run / "mlflow.json").read_text())["run_id"])
    assert set(found.data.tags) == {"stage", "distunlearn.run", "mlflow.runName"}
    assert found.data.params == {"seed": "1"}
    assert found.info.user_id in {"", "unknown"}
    assert found.info.status == "FINISHED"


def test_a_changed_parameter_does_not_stop_a_resumed_run(run: Path, told: Told) -> None:
    """MLflow keeps the first value of a parameter and refuses another: the mirror keeps it too and goes on."""
    first = Request(experiment="e", run_name="r", params={"world_size": "2"})
    first.write(run)
    sync(run)
    first.model_copy(update={"params": {"world_size": "1", "new": "x"}}).write(run)
    write_metrics(run, range(30, 31))
    assert sync(run) == 2
    assert told() == expected(31)


def test_the_environment_may_name_the_run(run: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_RUN_ID makes the figures part of a run of MLflow that is there already."""
    store = Store(f"{SQLITE}{run.parent / 'mlflow.db'}")
    mine = store.create_run(store.experiment("mine"), "mine", {})
    monkeypatch.setenv("MLFLOW_RUN_ID", mine)
    sync(run)
    assert json.loads((run / "mlflow.json").read_text())["run_id"] == mine
    assert told() == expected(30)


def test_no_host_is_asked_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the database beside the run nothing is looked up in the network, not even MLflow's telemetry."""
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **_: asked.append(place))
    sync(run)
    assert asked == []


def test_a_database_left_half_made_is_made_anew(tmp_path: Path) -> None:
    """What a killed process left of a fresh database is not used and does not stay."""
    half = tmp_path / ".mlflow.db.part"
    half.write_bytes(b"half")
    (tmp_path / ".mlflow.db.part-journal").write_bytes(b"of it")
    Store(f"{SQLITE}{tmp_path / 'mlflow.db'}").experiment("e")
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", ".mlflow.db.lock"}


@pytest.mark.slow
def test_processes_may_meet_at_a_fresh_database(tmp_path: Path) -> None:
    """Four runs that start together beside each other, with no database there yet, all get theirs."""
    runs = [tmp_path / name for name in "abcd"]
    for run in runs:
        run.mkdir()
        write_metrics(run, range(3))
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(sync, runs, chunksize=1) == [6, 6, 6, 6]
    assert {path.name for path in tmp_path.iterdir()} == {*"abcd", "mlflow.db", ".mlflow.db.lock"}
