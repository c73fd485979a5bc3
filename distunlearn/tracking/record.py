"""What the trainer leaves for the mirror: plain files in the run folder, so that nothing is lost when nobody listens.

RUN/tracking/request.json    which experiment and run of MLflow, parameters, tags, how training ended
RUN/tracking/artifacts.jsonl one line a figure, table or file: where it lies and where MLflow shall show it
RUN/tracking/mirror.log      what the mirror met
RUN/mlflow.json              which run of MLflow mirrors this folder, written by the mirror
"""

import json
import uuid
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from distunlearn.errors import UserError
from distunlearn.run_folder import read_json, write_json
from distunlearn.strict import Strict

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


def whole_lines(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects of a growing file from byte `start`, and the byte after the last whole line.

    A line that is still being written is left for the next time; one that a killed process left torn is passed over.
    """
    if not path.exists():
        return [], start
    with path.open("rb") as file:
        file.seek(start)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    return [line for line in map(_object, whole.splitlines()) if line], start + len(whole)


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
