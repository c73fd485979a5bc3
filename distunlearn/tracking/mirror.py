"""Files of a run -> MLflow, adding only what MLflow lacks.

What MLflow has is asked of it, not remembered: a mirror that failed is thrown away and a new one starts over from the
files, so that a request whose answer was lost is not told twice.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock

from distunlearn.errors import UserError
from distunlearn.run_folder import METRICS, read_json, write_json
from distunlearn.tracking.names import takes
from distunlearn.tracking.parent import TAG, find_or_create, parent_tags
from distunlearn.tracking.record import ARTIFACTS, FOLDER, MIRRORED, REQUEST, GrowingLines, Request
from distunlearn.tracking.store import MOST_METRICS, Point, Store, tracking_uri, without_credentials


class Mirror:
    """A run folder and the run of MLflow that mirrors it."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.request = Request.of(run)
        self.store = Store(tracking_uri(run / FOLDER if self.request.holds_runs else run, self.request.uri))
        with FileLock(run / FOLDER / ".lock"):
            self.id, experiment = self._find_or_create()
        tags = self.request.tags | {TAG: self.request.id} | parent_tags(run, self.store, experiment)
        self.store.params(self.id, self.request.params, tags)
        self._known = set(self.store.client.get_run(self.id).data.metrics)
        self._steps: dict[str, set[int]] = {}
        self._metrics, self._artifacts = GrowingLines(run / METRICS), GrowingLines(run / ARTIFACTS)
        self._tables: list[str] = []

    def catch_up(self) -> int:
        """Tell MLflow what was written since the last look; returns how many figures were new to it."""
        new = (point for line in self._metrics.new() for point in points_of(line) if self._is_new(point))
        count = 0
        while batch := tuple(islice(new, MOST_METRICS)):
            self.store.points(self.id, batch)
            count += len(batch)
        self._files()
        return count

    def finish(self) -> None:
        """Say in MLflow how the training ended; one that vanished without a word was killed."""
        now = Request.of(self.run)
        if now.attempt == self.request.attempt:  # else the training has been resumed meanwhile
            self.store.client.set_terminated(self.id, "KILLED" if now.status == "RUNNING" else now.status)

    def _is_new(self, point: Point) -> bool:
        """One value a step: what a resumed training writes again is not told again."""
        if point.key not in self._steps:
            self._steps[point.key] = self.store.steps(self.id, point.key) if point.key in self._known else set()
        told = self._steps[point.key]
        is_new = point.step not in told
        told.add(point.step)
        return is_new

    def _files(self) -> None:
        lines = self._artifacts.new()
        for line in lines:
            path = self.run / line["path"]
            if path.exists():
                self.store.add_file(self.id, path, line["folder"])
            if line["folder"] == "tables":
                self._tables.append(f"tables/{path.name}")
        if lines and self._tables:
            self.store.show_tables(self.id, dict.fromkeys(self._tables))

    def _find_or_create(self) -> tuple[str, str]:
        """Identifiers of the run of MLflow and of its experiment."""
        wanted = os.environ.get("MLFLOW_RUN_ID")
        experiment = (
            self.store.client.get_run(wanted).info.experiment_id
            if wanted
            else self.store.experiment(self.request.experiment)
        )
        run = wanted or find_or_create(self.store, experiment, self.request)
        if self.request.status == "RUNNING":  # also if it had ended and was resumed
            self.store.client.update_run(run, status="RUNNING")
        place = {"run_id": run, "experiment_id": experiment, "tracking_uri": without_credentials(self.store.uri)}
        write_json(self.run / MIRRORED, place)
        return run, experiment


def points_of(line: dict[str, Any]) -> Iterator[Point]:
    """The figures of a line of metrics.jsonl: numbers whose key holds a `/`.

    >>> list(points_of({"time": 2.0, "stage": "standard", "step": 7, "val/mae/a": 4.5}))
    [Point(key='val/mae/a', value=4.5, milliseconds=2000, step=7)]
    """
    for key, value in line.items():
        if "/" in key and isinstance(value, int | float) and takes(key):
            yield Point(key, float(value), int(1000 * float(line.get("time", 0))), int(line.get("step", 0)))


def sync(run: Path) -> int:
    """Bring MLflow up to the run folder, adding only what it lacks.

    Returns:
        How many figures were new to MLflow.

    Raises:
        UserError: no run folder, or MLflow cannot be reached or written.
    """
    if not (run / METRICS).is_file() and not (run / REQUEST).is_file():
        raise UserError(
            f"{run}: no {METRICS} there, so there is nothing to tell MLflow; give the folder that `distunlearn train` wrote"
        )
    if not (run / FOLDER).exists():  # trained with tracking switched off
        Request(
            experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME", "distunlearn"),
            run_name=run.resolve().name,
            status="FINISHED",
        ).write(run)
    try:
        mirror = Mirror(run)
        count = mirror.catch_up()
        if mirror.request.status != "RUNNING":
            mirror.finish()
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  # MLflow and its stores raise of every kind
        raise UserError(
            f"{run}: MLflow did not take it ({describe(error)}); is MLFLOW_TRACKING_URI right and the server up?"
        ) from None
    return count


def describe(error: Exception) -> str:
    """An error in one line, without credentials."""
    return f"{type(error).__name__}: {without_credentials(' '.join(str(error).split()))[:300]}"


def experiment_of(run: Path) -> str | None:
    """Identifier of the experiment that holds the mirror of this run, once there is one."""
    try:
        return str(read_json(run / MIRRORED)["experiment_id"])
    except UserError:
        return None
