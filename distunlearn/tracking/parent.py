"""A folder of runs as one run of MLflow, the parent of theirs; whichever of them tells MLflow first creates it."""

import os
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from distunlearn.tracking.record import FOLDER, REQUEST, Request
from distunlearn.tracking.store import Store

TAG = "distunlearn.run"
PARENT = "mlflow.parentRunId"
"""The tag by which MLflow's pages nest runs."""


def announce(folder: Path, *, experiment: str, run_name: str, tags: Mapping[str, str]) -> None:
    """Leave in a folder of runs what their parent shall be; MLflow is told by them. Its id stays what it was.

    Args:
        folder: runs are children by lying in it, those too that were trained before.
        experiment: that of the runs, unless MLFLOW_EXPERIMENT_NAME gives another.
        run_name: name in MLflow.
        tags: no user, host or path is added to them.
    """
    with FileLock(folder / f".{FOLDER}.lock"):  # not the mirrors' lock, which is held while a server is waited for
        Request.of_start(folder, experiment=experiment, run_name=run_name, tags=tags, holds_runs=True).write(folder)


def parent_tags(run: Path, store: Store, experiment: str) -> dict[str, str]:
    """The tag that makes a run the child of its folder's; none if the folder has none, or MLFLOW_RUN_ID names the run."""
    folder = run.resolve().parent
    if os.environ.get("MLFLOW_RUN_ID") or not (folder / REQUEST).is_file():
        return {}
    request = Request.of(folder)
    if not request.holds_runs:  # a run within the folder of another run
        return {}
    with FileLock(folder / FOLDER / ".lock"):
        return {PARENT: find_or_create(store, experiment, request)}


def find_or_create(store: Store, experiment: str, request: Request) -> str:
    """Identifier of the run of MLflow that mirrors a folder; the caller holds the folder's lock."""
    tags = request.tags | {TAG: request.id}
    return store.run_tagged(experiment, TAG, request.id) or store.create_run(experiment, request.run_name, tags)
