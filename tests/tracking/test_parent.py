"""The runs of a suite's folder are children of one run of MLflow."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow.entities import Run
from tracked_run import write_metrics

from distunlearn.errors import UserError
from distunlearn.tracking import announce, sync
from distunlearn.tracking.record import ARTIFACTS, Request
from distunlearn.tracking.store import SQLITE, Store

NOBODY = "http://127.0.0.1:9"
"""An address where no server listens."""
PARENT = "mlflow.parentRunId"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy

Held = Callable[[], tuple[list[Run], list[Run]]]


def training(suite: Path, name: str) -> Path:
    """The folder of a training of the suite that has ended, as the engine leaves it."""
    run = suite / name
    run.mkdir(exist_ok=True)
    write_metrics(run, range(2))
    Request.of_start(run, experiment="e-table1", run_name=name, tags={"suite": "table1", "row": name}).write(run)
    return run


def announced(suite: Path) -> None:
    """Say of a folder that it is a suite's."""
    announce(suite, experiment="e-table1", run_name="table1", tags={"suite": "table1"})


@pytest.fixture
def suite(run: Path) -> Path:
    """A suite's folder with an MLflow database in it."""
    announced(run.parent)
    return run.parent


@pytest.fixture
def held(run: Path) -> Held:
    """What that database holds: runs that are nobody's children, and children."""

    def read() -> tuple[list[Run], list[Run]]:
        client = Store(f"{SQLITE}{run.parent / 'mlflow.db'}").client
        runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
        return [each for each in runs if PARENT not in each.data.tags], [
            each for each in runs if PARENT in each.data.tags
        ]

    return read


def test_trainings_of_a_suite_have_one_parent(suite: Path, held: Held) -> None:
    """It is named after the suite, in the experiment of its children, and bears the suite's tags and no other."""
    for name in ("a", "b"):
        sync(training(suite, name))
        announced(suite)  # as every start of `reproduce` does
    (parent,), children = held()
    assert {child.info.run_name for child in children} == {"a", "b"}
    assert {child.data.tags[PARENT] for child in children} == {parent.info.run_id}
    assert {child.info.experiment_id for child in children} == {parent.info.experiment_id}
    assert set(parent.data.tags) == {"suite", "distunlearn.run", "mlflow.runName"}
    assert (parent.info.run_name, parent.data.tags["suite"]) == ("table1", "table1")


def test_trainings_that_meet_create_one_parent(suite: Path, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job array's trainings that look for the parent at the same time do not create one each."""
    honest = Store.create_run
    monkeypatch.setattr(Store, "create_run", lambda *given: (time.sleep(0.3), honest(*given))[1])
    runs = [training(suite, name) for name in "abc"]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(sync, runs)) == [4, 4, 4]
    (parent,), children = held()
    assert [child.data.tags[PARENT] for child in children] == 3 * [parent.info.run_id]


def test_what_was_told_late_has_the_same_parent(suite: Path, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sync` of a training whose server was down, and of one from before its folder had a parent, attaches both to it."""
    early = training(suite, "early")
    (suite / "tracking").rename(suite / "later")
    sync(early)
    assert held()[1] == []
    (suite / "later").rename(suite / "tracking")
    down = training(suite, "down")
    with monkeypatch.context() as patched, pytest.raises(UserError, match="did not take it"):
        patched.setenv("MLFLOW_TRACKING_URI", NOBODY)
        sync(down)
    for run in (down, early):
        sync(run)
    (parent,), children = held()
    assert [child.data.tags[PARENT] for child in children] == 2 * [parent.info.run_id]


def test_the_parent_shows_the_suites_files_beside_its_runs(suite: Path, held: Held) -> None:
    """The suite's own folder is mirrored into the parent that its trainings made, in the database that they are in."""
    sync(training(suite, "a"))
    (suite / "table.md").write_text("| row |\n")
    (suite / ARTIFACTS).write_text(json.dumps({"path": "table.md", "folder": None}) + "\n")
    Request.of(suite).model_copy(update={"status": "FINISHED"}).write(suite)
    sync(suite)
    (parent,), _ = held()
    assert parent.info.status == "FINISHED"
    assert [path.name for path in (suite / "mlartifacts").rglob("table.md")] == ["table.md"]
    assert not (suite.parent / "mlflow.db").exists()


def test_a_run_in_the_folder_of_a_run_is_nobodys_child(run: Path, held: Held) -> None:
    """Only a suite's folder makes children; a folder that is a run itself does not."""
    Request(experiment="e", run_name="outer").write(run.parent)
    sync(training(run.parent, "inner"))
    (alone,), children = held()
    assert (alone.info.run_name, children) == ("inner", [])


def test_a_run_that_the_user_names_stays_where_it_is(suite: Path, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_RUN_ID puts the figures into a run of the user's, whose place among the others is the user's, too."""
    store = Store(f"{SQLITE}{suite / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_RUN_ID", store.create_run(store.experiment("mine"), "mine", {}))
    sync(training(suite, "a"))
    assert held()[1] == []
