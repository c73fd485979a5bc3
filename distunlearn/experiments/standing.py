"""How a suite's rows stand against the bar, from its files alone: error and scanner of each, beside the baseline's."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distunlearn.errors import UserError
from distunlearn.experiments.intervals import student
from distunlearn.experiments.over_splits import BySplit, Runs, by_site, change_of, errors_of, held_out, runs_of
from distunlearn.experiments.suite import Bar, Row, Suite
from distunlearn.metrics import Interval
from distunlearn.probing.verdict import main_set
from distunlearn.run_folder import METRICS, PROBE, read_json


@dataclass(frozen=True)
class Standing:
    """A row over its seeds."""

    row: Row
    errors: BySplit
    """Of held-out people, by split."""
    seeds: int
    """Trainings; of one split several, where seeds share it."""
    error: float
    """Mean over people, in the task's unit, as `error_of_sites`."""
    error_of_sites: float
    """Mean over sites."""
    change: Interval
    """Of `error` against the baseline's, in percent; its upper end is the one-sided upper 95% end, as of the next."""
    change_of_sites: Interval
    probe: float
    floor: float
    """What the label with the model's own error added tells."""
    chance: float
    excess: Interval
    """`probe` - `floor`, with its two-sided 95% interval."""
    on: str
    """The scans on which it was probed."""
    milliseconds: float
    """Of a step of the last stage; NaN where no line of metrics says it."""


def standings(out: Path, suite: Suite, bar: Bar) -> list[Standing]:
    """Every row of all sites that has a seed done, in the order of the suite."""
    whole = [row for row in suite.rows if set(row.sites) == set(suite.sites)]
    done = {row.id: runs_of(out, suite, row) for row in whole}
    errors = {name: errors_of(runs, held_out) for name, runs in done.items()}
    return [_standing(row, done[row.id], errors[row.id], errors[bar.baselines[0]]) for row in whole if done[row.id]]


def _standing(row: Row, runs: Runs, errors: BySplit, baseline: BySplit) -> Standing:
    stages = [stage for of_split in runs.values() for stage in of_split]
    by_split = [[_told(stage) for stage in of_split] for of_split in runs.values()]
    told = [each for of_split in by_split for each in of_split]
    here, there = ({split: by_site(each) for split, each in of_row.items()} for of_row in (errors, baseline))
    return Standing(
        row=row,
        errors=errors,
        seeds=len(stages),
        error=_mean(each.mean() for each in errors.values()),
        error_of_sites=_mean(each.mean() for each in here.values()),
        change=change_of(errors, baseline),
        change_of_sites=change_of(here, there),
        probe=_mean(each["strongest"]["value"] for each in told),
        floor=_mean(each["floor"]["label_with_error"]["value"] for each in told),
        chance=_mean(each["chance"] for each in told),
        excess=student([_mean(each["excess"]["value"] for each in of_split) for of_split in by_split]),
        on=", ".join(sorted({each["on"] for each in told})),
        milliseconds=_mean(_milliseconds(stage) for stage in stages),
    )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _told(stage: Path) -> dict[str, Any]:
    """What was found on the set that stands for all, where the label helps least.

    Raises:
        UserError: no set of this run's held-out scans is large enough to be probed.
    """
    sets: dict[str, dict[str, Any]] = {
        name: found for name, found in read_json(stage / PROBE)["sets"].items() if "too_few" not in found
    }
    if not sets:
        raise UserError(f"{stage}: too few held-out scans for a probe; give shards with more people in test and val")
    name = main_set(sets)
    return sets[name] | {"on": f"{name} scans of {len(sets[name]['scans'])} sites"}


def _milliseconds(stage: Path) -> float:
    path = stage.parent / METRICS
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    key = "time/seconds_per_step"
    seconds = [line[key] for line in lines if line["stage"] == stage.name and key in line]
    return 1000 * float(np.median(seconds)) if seconds else float("nan")
