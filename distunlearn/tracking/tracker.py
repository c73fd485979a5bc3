"""What the trainer holds of MLflow: a child process to start, files to note, and a pipe to close at the end."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import distunlearn
from distunlearn.errors import UserError
from distunlearn.run_folder import write_json
from distunlearn.tracking.mirror import experiment_of
from distunlearn.tracking.record import ARTIFACTS, FOLDER, LOG, REQUEST, Request
from distunlearn.tracking.store import SQLITE, tracking_uri, where_to_look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS_FOR_A_SERVER = 4.5
"""Of the five that an exit may take, whatever the server does."""
SECONDS_FOR_A_FILE = 60.0
"""A database beside the run cannot hang; a training that lasted seconds may be over before its tables are made, which
takes four seconds on an idle machine and many more on a busy one."""


class Tracker:
    """The mirror of one run, or of none.

    Figures need no call: the mirror reads RUN/metrics.jsonl, where a step counts over the whole run. Nothing here waits
    for MLflow or raises because of it.
    """

    def __init__(self, run: Path, mirror: subprocess.Popen[bytes] | None) -> None:
        self.run = run
        self.complete = True
        """After `close`: whether MLflow has everything."""
        self._mirror = mirror

    @classmethod
    def open(
        cls,
        run: Path,
        *,
        enabled: bool,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> "Tracker":
        """Start the mirror of a run; one that is resumed goes on in its old run of MLflow.

        Args:
            run: the run folder.
            enabled: True on rank 0 alone; the tracker of others is silent.
            experiment: name in MLflow, unless MLFLOW_EXPERIMENT_NAME gives another.
            run_name: name in MLflow; MLFLOW_RUN_ID continues a given run instead.
            params: configuration; nested keys are joined by dots, folders are cut to their names.
            tags: no user, host or path is added to them.

        Raises:
            UserError: MLFLOW_TRACKING_URI is a folder.
        """
        if not enabled:
            return cls(run, None)
        tracking_uri(run)
        tracker = cls(run, None)
        with tracker._though_disk_fails():
            Request.of_start(
                run, experiment=experiment, run_name=run_name, params=dict(_flat(params)), tags=tags
            ).write(run)
            tracker._mirror = _start(run)
        return tracker

    @classmethod
    def reopen(cls, run: Path) -> "Tracker":
        """Start the mirror of a run once more, to add what was found out after its training; silent if it had none."""
        tracker = cls(run, None)
        if (run / REQUEST).exists():
            with tracker._though_disk_fails():
                tracker._mirror = _start(run)
        return tracker

    def figure(self, name: str, figure: "Figure") -> None:
        """Keep a figure as RUN/tracking/figures/NAME.png and show it in MLflow."""
        if self._mirror is not None:
            with self._though_disk_fails():
                path = self._place("figures", f"{name}.png")
                figure.savefig(path, dpi=120, bbox_inches="tight")
                self.artifact(path)

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep a table as RUN/tracking/tables/NAME.json and let MLflow compare it between runs."""
        if self._mirror is not None:
            rows = list(rows)
            columns = list(dict.fromkeys(key for row in rows for key in row))
            with self._though_disk_fails():
                path = self._place("tables", f"{name}.json")
                write_json(
                    path, {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}
                )
                self.artifact(path)

    def artifact(self, path: Path) -> None:
        """Show a file or folder of the run folder in MLflow, at the same place."""
        if self._mirror is None:
            return
        inside = path.resolve().relative_to(self.run.resolve())
        folder = inside.parent.relative_to(FOLDER) if inside.is_relative_to(FOLDER) else inside.parent
        line = {"path": inside.as_posix(), "folder": None if folder == Path() else folder.as_posix()}
        with self._though_disk_fails(), (self.run / ARTIFACTS).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def close(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Give the mirror seconds to tell the rest: five in all when there is a server, whatever it does."""
        if self._mirror is None:
            return
        mirror, self._mirror = self._mirror, None
        with self._though_disk_fails():
            Request.of(self.run).model_copy(update={"status": status}).write(self.run)
        assert mirror.stdin is not None
        mirror.stdin.close()
        try:
            self.complete &= mirror.wait(_seconds(self.run)) == 0
        except subprocess.TimeoutExpired:
            mirror.kill()
            mirror.wait()
            self.complete = False

    def link(self) -> str:
        """How to open the comparison chart of the runs, and what to do if MLflow lacks something."""
        text = where_to_look(tracking_uri(self.run), experiment_of(self.run))
        if not self.complete:
            text += f"\nMLflow did not take everything (see {self.run / LOG}); `distunlearn sync {self.run}` adds what it lacks"
        return text

    @contextmanager
    def _though_disk_fails(self) -> Iterator[None]:
        """A full disk must not end a training by way of its tracking."""
        try:
            yield
        except (OSError, UserError):
            self.complete = False

    def _place(self, kind: str, file: str) -> Path:
        path = self.run / FOLDER / kind / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _seconds(run: Path) -> float:
    return SECONDS_FOR_A_FILE if tracking_uri(run).startswith(SQLITE) else SECONDS_FOR_A_SERVER


def _start(run: Path) -> subprocess.Popen[bytes]:
    """Start the mirror in a session of its own, so that signals to the trainer's group leave it time to finish."""
    package = str(Path(distunlearn.__file__).parents[1])
    paths = [entry for entry in (package, os.environ.get("PYTHONPATH")) if entry]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with (run / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "distunlearn.tracking", str(run.resolve()), str(_seconds(run))],
            stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True,
        )  # fmt: skip


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            text = str(value)
            yield f"{prefix}{key}", Path(text).name if text.startswith("/") else text
