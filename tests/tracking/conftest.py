"""A run folder with figures in it, and a ready-made MLflow database, whose creation takes seconds."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tracked_run import write_metrics

from distunlearn.tracking.store import SQLITE, Store


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Store(f"{SQLITE}{path}")
    return path


@pytest.fixture
def run(tmp_path: Path, database: Path) -> Path:
    """A run folder beside an MLflow database, with figures of 30 steps."""
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    shutil.copy(database, folder.parent / "mlflow.db")
    write_metrics(folder, range(30))
    return folder


@pytest.fixture
def told(run: Path) -> Callable[[], dict[str, list[tuple[int, float]]]]:
    """What the database beside the run folder holds: (step, value) of every point of its only run, by key."""

    def read() -> dict[str, list[tuple[int, float]]]:
        client = Store(f"{SQLITE}{run.parent / 'mlflow.db'}").client
        (only,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
        keys = sorted(only.data.metrics)
        return {
            key: [(point.step, point.value) for point in client.get_metric_history(only.info.run_id, key)]
            for key in keys
        }

    return read


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a server that is dead, hung, slow, full (500) or closed to us (401), as the test's parameter says."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            if request.param == "hung":
                released.wait()
            if request.param == "slow":
                released.wait(3.0)
            self.send_error({"full": 500, "closed": 401}.get(request.param, 503))

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    if request.param == "dead":
        listening.server_close()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    released.set()
    listening.shutdown()
    thread.join()
    listening.server_close()
