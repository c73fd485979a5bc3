"""Where MLflow keeps the runs, and a client that speaks to that place and to nobody else."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from filelock import FileLock

from distunlearn.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
FILES = "mlartifacts"
SQLITE = "sqlite:///"

ALWAYS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow reports to its makers unless told not to, and reads this when it is imported."""
UNLESS_SET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
}
"""With MLflow's own values a dead server costs minutes a call."""

MOST_METRICS, MOST_PARAMS = 1000, 100
"""A request takes no more."""


class Point(NamedTuple):
    """One figure of one step; the same point told twice is one point."""

    key: str
    value: float
    milliseconds: int
    step: int


def tracking_uri(run: Path, recorded: str | None = None) -> str:
    """MLFLOW_TRACKING_URI, or what the training used, or a database beside the run folder, so that runs compare.

    Raises:
        UserError: a folder, which MLflow 3 no longer writes to.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or recorded or f"{SQLITE}{run.resolve().parent / DATABASE}"
    is_folder = uri.startswith("file:") or ("://" not in uri and not uri.startswith("databricks"))
    if is_folder and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in {"true", "1"}:
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri}: MLflow 3 keeps runs in a database, not in a folder; give {SQLITE}FILE.db, a server, or unset it"
        )
    return uri


def without_credentials(text: str) -> str:
    """Text without the `user:password@` of the addresses in it.

    >>> without_credentials("no answer from https://ada:secret@host:5000/api")
    'no answer from https://host:5000/api'
    """
    return re.sub(r"//[^/\s]*@", "//", text)


class Store:
    """One place where MLflow keeps runs."""

    def __init__(self, uri: str) -> None:
        os.environ.update(ALWAYS)
        for name, value in UNLESS_SET.items():
            os.environ.setdefault(name, value)
        self.uri = uri
        if uri.startswith(SQLITE):
            _create_database(Path(uri.removeprefix(SQLITE)).resolve())
        self.client = _client(uri)

    def experiment(self, name: str) -> str:
        """Identifier of the experiment of that name, created if there is none."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return self.client.create_experiment(name, artifact_location=self._artifacts())
            except MlflowException:  # another process was quicker
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        return found.experiment_id

    def run_tagged(self, experiment: str, tag: str, value: str) -> str | None:
        """Identifier of the run that bears this tag."""
        runs = self.client.search_runs([experiment], filter_string=f"tags.`{tag}` = '{value}'", max_results=1)
        return runs[0].info.run_id if runs else None

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        """Start a run. MLflow's fluent calls would add user, file and git tags; the client adds none."""
        return str(self.client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id)

    def params(self, run: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Add parameters that the run does not have yet (MLflow refuses to change one), and set tags."""
        from mlflow.entities import Param, RunTag

        known = self.client.get_run(run).data.params
        new = [Param(key, value) for key, value in params.items() if key not in known]
        for start in range(0, len(new), MOST_PARAMS):
            self.client.log_batch(run, params=new[start : start + MOST_PARAMS])
        self.client.log_batch(run, tags=[RunTag(key, value) for key, value in tags.items()])

    def points(self, run: str, points: Iterable[Point]) -> None:
        """Add at most `MOST_METRICS` figures."""
        from mlflow.entities import Metric

        self.client.log_batch(run, metrics=[Metric(*point) for point in points])

    def steps(self, run: str, key: str) -> set[int]:
        """Steps at which the run has a value of this figure."""
        return {metric.step for metric in self.client.get_metric_history(run, key)}

    def add_file(self, run: str, path: Path, folder: str | None) -> None:
        """Upload a file or a folder, over what is there."""
        if path.is_dir():
            self.client.log_artifacts(run, str(path), folder)
        else:
            self.client.log_artifact(run, str(path), folder)

    def show_tables(self, run: str, paths: Iterable[str]) -> None:
        """Let MLflow's evaluation page offer these files as tables."""
        listed = [{"path": path, "type": "table"} for path in paths]
        self.client.set_tag(run, "mlflow.loggedArtifacts", json.dumps(listed))

    def _artifacts(self) -> str | None:
        if not self.uri.startswith(SQLITE):
            return None
        return (Path(self.uri.removeprefix(SQLITE)).resolve().parent / FILES).as_uri()


def where_to_look(uri: str, experiment: str | None) -> str:
    """How to open the comparison of the runs: MLflow's start page is made for chat bots and looks empty."""
    return where_to_open(uri, f"/#/experiments/{experiment}/runs?compareRunsMode=CHART" if experiment else "")


def where_to_open(uri: str, page: str) -> str:
    """How to open a page of MLflow: its address, or the command that serves the database and the address then."""
    if urlsplit(uri).scheme in {"http", "https"}:
        return without_credentials(uri).rstrip("/") + page
    shown = uri
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        shown = f"{SQLITE}{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}"
    return f"mlflow ui --backend-store-uri '{without_credentials(shown)}'  then open http://127.0.0.1:5000{page}"


def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create_database(path: Path) -> None:
    """Create MLflow's tables once: processes that meet a fresh database together fail, and a killed one leaves half."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return
        part = path.with_name(f".{path.name}.part")
        for left in (part, part.with_name(f"{part.name}-journal")):  # by a process that was killed
            left.unlink(missing_ok=True)
        _client(f"{SQLITE}{part}").search_experiments(max_results=1)
        part.replace(path)
