"""What the tests of tracking share: a run's figures, a tracker on it, and what MLflow then holds."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distunlearn.tracking import Tracker
from distunlearn.tracking.store import SQLITE, Store

SITES = ("ixi", "oasis")


def write_metrics(run: Path, steps: range, *, start: float = 1000.0) -> None:
    """Append a line of metrics a step, as the engine does."""
    with (run / "metrics.jsonl").open("a") as file:
        for step in steps:
            figures = {f"val/mae/{site}": step + 0.25 for site in SITES}
            file.write(
                json.dumps({"time": start + step, "stage": "standard", "epoch": 0, "step": step, **figures}) + "\n"
            )


Told = Callable[[], dict[str, list[tuple[int, float]]]]


def expected(steps: int) -> dict[str, list[tuple[int, float]]]:
    """Every point of `write_metrics(run, range(steps))`, by key."""
    return {f"val/mae/{site}": [(step, step + 0.25) for step in range(steps)] for site in SITES}


def opened(run: Path, *, enabled: bool = True) -> Tracker:
    """A tracker as the engine opens it."""
    params = {"seed": 1, "shards": "/home/ada/shards", "data": {"batch": 4}}
    return Tracker.open(run, enabled=enabled, experiment="e", run_name="r", params=params, tags={"task": "age"})


def status_of(run: Path) -> str:
    """How MLflow says that the run ended."""
    client = Store(f"{SQLITE}{run.parent / 'mlflow.db'}").client
    return str(client.get_run(json.loads((run / "mlflow.json").read_text())["run_id"]).info.status)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another process does; a test that waits in vain fails."""
    for _ in range(2400):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("waited for two minutes in vain")
