"""What a run leaves behind while it trains: metrics.jsonl and STATUS.json first, MLflow as their mirror."""

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from distunlearn import run_folder
from distunlearn.config import RunConfig
from distunlearn.errors import UserError
from distunlearn.tracking import Tracker

PACKAGES = ("distunlearn", "torch", "accelerate", "numpy", "webdataset", "nibabel", "mlflow", "scikit-learn")


class Record:
    """The run folder as rank 0 writes it; on other ranks every call does nothing."""

    def __init__(self, run: Path, config: RunConfig, *, world_size: int, is_main: bool) -> None:
        self.run, self.is_main = run, is_main
        self._tracker = _tracker(run, config, world_size, enabled=is_main and config.tracking.enabled)
        if is_main:
            (run / run_folder.CONFIG).write_text(config.dump())
            run_folder.write_json(run / run_folder.ENVIRONMENT, _environment(world_size))
            (run / run_folder.METRICS).touch()

    def log(self, metrics: Mapping[str, float], *, stage: str, epoch: int, step: int) -> None:
        """Append one line of figures; MLflow's mirror reads it from the file."""
        if not self.is_main:
            return
        line = {"time": round(time.time(), 3), "stage": stage, "epoch": epoch, "step": step, **metrics}
        with (self.run / run_folder.METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """All lines of figures so far."""
        return [json.loads(line) for line in (self.run / run_folder.METRICS).read_text().splitlines()]

    def status(self, state: str, reason: str = "", **more: Any) -> None:
        """Say where the run stands, for people and schedulers."""
        if self.is_main:
            run_folder.write_json(
                self.run / run_folder.STATUS, {"state": state, "reason": reason, "time": time.time(), **more}
            )

    def say(self, line: str) -> None:
        """One line for whoever watches."""
        if self.is_main:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    @property
    def length(self) -> int:
        """Bytes of metrics.jsonl, for a checkpoint."""
        return (self.run / run_folder.METRICS).stat().st_size if self.is_main else 0

    def cut(self, length: int) -> None:
        """Forget the lines that were written after a checkpoint: they will be written again."""
        if self.is_main:
            os.truncate(self.run / run_folder.METRICS, length)

    def artifact(self, path: Path) -> None:
        """Mirror a file of the run folder."""
        self._tracker.artifact(path)

    def close(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Let go of the tracker, within seconds whatever its server does."""
        self._tracker.close(status)


def _tracker(run: Path, config: RunConfig, world_size: int, *, enabled: bool) -> Tracker:
    return Tracker.open(
        run,
        enabled=enabled,
        experiment=config.tracking.experiment,
        run_name=config.tracking.run_name or run.name,
        params=_params(config),
        tags={"stages": " → ".join(stage.name for stage in config.stages), "world_size": str(world_size)}
        | config.tracking.tags,
    )


def _params(config: RunConfig) -> dict[str, Any]:
    """The configuration with its stages by name, as people look for them."""
    values = config.model_dump(mode="json", exclude={"tracking", "shards"})
    stages = {stage.pop("name"): stage for stage in values.pop("stages")}
    return values | {"stages": stages}


def _environment(world_size: int) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "world_size": world_size,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed, or without MLflow
        return None


def hold(run: Path) -> FileLock:
    """Hold a run folder, so that no second trainer writes it; a killed process lets go by itself.

    Raises:
        UserError: another process holds it.
    """
    lock = FileLock(run / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"{run}: another process is training there; wait for it, stop it, or give another --out"
        ) from None
    return lock
