"""What the trainer leaves for the mirror: plain files in the run folder, so that nothing is lost when nobody listens.

RUN/tracking/request.json    which experiment and run of MLflow, parameters, tags, how training ended
RUN/tracking/artifacts.jsonl one line a figure, table or file: where it lies and where MLflow shall show it
RUN/tracking/mirror.log      what the mirror met
RUN/mlflow.json              which run of MLflow mirrors this folder, written by the mirror
"""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from distunlearn.errors import UserError
from distunlearn.run_folder import read_json, write_json
from distunlearn.strict import Strict
from distunlearn.tracking.store import without_credentials

FOLDER = "tracking"
REQUEST = f"{FOLDER}/request.json"
ARTIFACTS = f"{FOLDER}/artifacts.jsonl"
LOG = f"{FOLDER}/mirror.log"
MIRRORED = "mlflow.json"

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class Request(Strict):
    """What MLflow shall hold besides figures."""

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    """Tag by which the mirror finds its run again, even if the answer to its creation was lost."""
    attempt: str = Field(default_factory=lambda: uuid.uuid4().hex)
    """Differs between the starts of a run, so that the mirror of a killed one does not speak for its successor."""
    uri: str | None = None
    """Tracking URI of the training, without credentials; None for the database beside the run folder."""
    experiment: str
    run_name: str
    params: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    status: Status = "RUNNING"
    holds_runs: bool = False
    """The folder is a suite's: the runs in it are children of this one, and the database lies in it, beside them."""

    @classmethod
    def of_start(
        cls,
        run: Path,
        *,
        experiment: str,
        run_name: str,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str],
        holds_runs: bool = False,
    ) -> "Request":
        """That of a start in this environment, which goes on with the run of MLflow of an earlier start."""
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        return cls(
            **previous_id(run),
            uri=without_credentials(uri) if uri else None,
            experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment,
            run_name=run_name,
            params=dict(params or {}),
            tags=dict(tags),
            holds_runs=holds_runs,
        )

    @classmethod
    def of(cls, run: Path) -> "Request":
        """Read the request of a run.

        Raises:
            UserError: there is none, or it is not readable.
        """
        return cls.read(read_json(run / REQUEST), str(run / REQUEST))

    def write(self, run: Path) -> None:
        """Write it into the run folder."""
        (run / FOLDER).mkdir(parents=True, exist_ok=True)
        write_json(run / REQUEST, self.model_dump())


def previous_id(run: Path) -> dict[str, str]:
    """`{"id": …}` of the request that an earlier start of this run left, so that resuming continues its MLflow run."""
    try:
        return {"id": Request.of(run).id}
    except UserError:
        return {}


class GrowingLines:
    """JSON objects, one a line, of a file that somebody appends to and sometimes cuts back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._restart()

    def _restart(self) -> None:
        self._end, self._last = 0, b""

    def new(self) -> list[dict[str, Any]]:
        """What was appended since the last call; everything again, if the file was cut back behind that point.

        A line that is still being written waits for the next call; one that a killed process left torn is passed over.
        """
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._end - len(self._last))
            text = file.read()
            if not text.startswith(self._last):  # a training that went on from a checkpoint rewrites what came after it
                self._restart()
                file.seek(0)
                text = file.read()
        whole = text[len(self._last) : text.rfind(b"\n") + 1]
        lines = whole.splitlines(keepends=True)
        if lines:
            self._end, self._last = self._end + len(whole), lines[-1]
        return [line for line in map(_object, lines) if line]


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
