"""A run as the report sees it: what its folder holds, read once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from distunlearn.evaluate.stage import Stage, read_stage, read_table
from distunlearn.evaluate.summary import summarise
from distunlearn.run_folder import (
    CONFIG,
    ENVIRONMENT,
    METRICS,
    MODEL,
    PREDICTIONS,
    PROBE,
    SCANS,
    SUMMARY,
    read_json,
    stages_done,
)


@dataclass(frozen=True)
class StageRecord:
    """One evaluated stage."""

    stage: Stage
    summary: dict[str, Any]
    probe: dict[str, Any] | None
    """None where the stage has not been probed yet."""
    card: dict[str, Any]
    """The model's card: what it expects of a scan; empty where there is none."""

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name


@dataclass(frozen=True)
class RunRecord:
    """One run with at least one evaluated stage."""

    folder: Path
    stages: tuple[StageRecord, ...]
    elsewhere: tuple[StageRecord, ...]
    """What `distunlearn evaluate --shards` wrote: a stage's model on the scans of other shards."""
    config: dict[str, Any]
    environment: dict[str, Any]
    scans: pd.DataFrame
    metrics: pd.DataFrame

    @property
    def name(self) -> str:
        """The run's name, that of its folder."""
        return self.folder.resolve().name

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site of the run, and those that it was evaluated at without having been trained on them."""
        evaluated = [self.last.stage, *(each.stage for each in self.elsewhere)]
        return tuple(sorted({*self.scans["site"], *(site for stage in evaluated for site in stage.table["site"])}))

    @property
    def last(self) -> StageRecord:
        """The stage that was trained last: what the run came to."""
        return self.stages[-1]

    @property
    def simulated(self) -> bool:
        """Whether scans were simulated, as the model's card says."""
        return any(stage.card.get("simulated", False) for stage in (*self.stages, *self.elsewhere))


def read_run(folder: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        UserError: it is none, or nothing in it has been evaluated.
    """
    stages = tuple(_read_stage(stage) for stage in stages_done(folder))
    elsewhere = sorted(path.parent for path in folder.glob(f"*-on-*/{PREDICTIONS}"))
    return RunRecord(
        folder,
        stages,
        tuple(_read_stage(stage) for stage in elsewhere if stage not in {each.stage.folder for each in stages}),
        yaml.safe_load((folder / CONFIG).read_text()) or {},
        _json(folder / ENVIRONMENT) or {},
        read_table(folder / SCANS),
        _read_metrics(folder / METRICS),
    )


def _read_stage(folder: Path) -> StageRecord:
    summary = _json(folder / SUMMARY) or summarise(folder)
    return StageRecord(read_stage(folder), summary, _json(folder / PROBE), _json(folder / MODEL / "model.json") or {})


def _json(path: Path) -> Any:
    return read_json(path) if path.is_file() else None


def _read_metrics(path: Path) -> pd.DataFrame:
    lines = path.read_text().splitlines() if path.is_file() else []
    return pd.DataFrame([json.loads(line) for line in lines], columns=None if lines else ["stage", "epoch", "step"])


def all_sites(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """The sites of all runs, in alphabetical order."""
    return tuple(sorted({site for run in runs for site in run.sites}))
