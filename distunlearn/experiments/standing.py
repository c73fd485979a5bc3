"""How a suite's rows stand against the bar, from its files alone: scanner, task error, left-out sites.

Seeds are independent of each other where every one has its own split or study, so that intervals are Student's over
seeds; at left-out sites over the sites, each one's change being the mean over its seeds. (A bootstrap of so few would
be too narrow.)
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distunlearn.errors import UserError
from distunlearn.evaluate.measure import predicted
from distunlearn.evaluate.stage import read_predictions
from distunlearn.evaluate.summary import Errors, errors_by_person
from distunlearn.experiments.results import done_runs, student
from distunlearn.experiments.suite import Bar, Row, Suite
from distunlearn.metrics import Interval
from distunlearn.probing.verdict import main_set
from distunlearn.run_folder import METRICS, PROBE, read_json

MOST_EXCESS = 0.05
"""Balanced accuracy of the strongest probe above that of a probe on the label with the model's own error."""
MOST_CHANGE = 2.0
"""Percent of the baseline's error."""
ONE_SIDED = 0.90
"""Level of a two-sided interval whose upper end is the one-sided upper 95% end."""


@dataclass(frozen=True)
class Standing:
    """A row over its seeds."""

    row: Row
    seeds: int
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


@dataclass(frozen=True)
class Finding:
    """One of the three that the recipe is held to."""

    what: str
    figure: Interval
    most: float
    """Where the upper end must not lie above."""

    @property
    def says(self) -> str:
        """met; missed, where the whole interval lies beyond; or not shown."""
        if np.isnan(self.figure.high):
            return "not shown"
        if self.figure.high <= self.most:
            return "met"
        return "missed" if self.figure.low > self.most else "not shown"


def standings(out: Path, suite: Suite, bar: Bar) -> list[Standing]:
    """Every row of all sites that has a seed done, in the order of the suite."""
    whole = [row for row in suite.rows if set(row.sites) == set(suite.sites)]
    done = {row.id: done_runs(out, suite, row) for row in whole}
    errors = {name: _errors(runs, held_out) for name, runs in done.items()}
    return [_standing(row, done[row.id], errors[row.id], errors[bar.baseline]) for row in whole if done[row.id]]


def findings(out: Path, suite: Suite, bar: Bar, rows: list[Standing]) -> list[Finding]:
    """The three findings on the recipe, as far as its rows are done."""
    found = []
    for recipe in (each for each in rows if each.row.id == bar.recipe):
        found.append(Finding("scanner told beyond the label, balanced accuracy", recipe.excess, MOST_EXCESS))
        found.append(Finding("change in task error, %", recipe.change, MOST_CHANGE))
    changes = list(left_out(out, suite, bar).values())
    if changes:
        found.append(Finding(f"change at {len(changes)} left-out sites, %", student(changes, ONE_SIDED), MOST_CHANGE))
    return found


def left_out(out: Path, suite: Suite, bar: Bar) -> dict[str, float]:
    """The change at each site that was left out, in percent, the mean over its seeds."""
    by_id = {row.id: row for row in suite.rows}
    changes: dict[str, list[float]] = {}
    for ours, theirs in bar.left_out:
        row, other = by_id[ours], by_id[theirs]
        here, there = (_errors(done_runs(out, suite, each), anybody) for each in (row, other))
        for seed in sorted(here.keys() & there.keys()):
            change = percent(_by_site(here[seed]), _by_site(there[seed])).drop(list(row.sites))
            for site, value in change.items():
                changes.setdefault(str(site), []).append(float(value))
    return {site: float(np.mean(values)) for site, values in sorted(changes.items())}


def percent(ours: Any, theirs: Any) -> Any:
    """The change from theirs to ours.

    >>> percent(4.5, 4.0)
    12.5
    """
    return 100 * (ours / theirs - 1)


def held_out(table: pd.DataFrame) -> tuple[str, ...]:
    """Test scans, or validation scans in a study for development, which has no others."""
    return ("test",) if (table["split"] == "test").any() else ("val",)


def anybody(_: pd.DataFrame) -> tuple[str, ...]:
    """Every scan but those of travelling people, who are scanned at sites that were trained on too."""
    return ("train", "val", "test")


def _errors(runs: Mapping[int, Path], splits: Callable[[pd.DataFrame], tuple[str, ...]]) -> dict[int, Errors]:
    """The mean error of each person's scans, by site and person, for each seed."""
    tables = {seed: (read_predictions(stage), predicted(stage.parent).measure) for seed, stage in runs.items()}
    return {seed: errors_by_person(table, measure, splits(table)) for seed, (table, measure) in tables.items()}


def _by_site(errors: Errors) -> Errors:
    return errors.groupby(level="site").mean()


def _standing(row: Row, runs: Mapping[int, Path], errors: dict[int, Errors], baseline: dict[int, Errors]) -> Standing:
    shared = sorted(errors.keys() & baseline.keys())
    told = [_told(stage) for stage in runs.values()]
    return Standing(
        row=row,
        seeds=len(runs),
        error=_mean(each.mean() for each in errors.values()),
        error_of_sites=_mean(_by_site(each).mean() for each in errors.values()),
        change=student([percent(errors[seed].mean(), baseline[seed].mean()) for seed in shared], ONE_SIDED),
        change_of_sites=student(
            [percent(_by_site(errors[seed]).mean(), _by_site(baseline[seed]).mean()) for seed in shared], ONE_SIDED
        ),
        probe=_mean(each["strongest"]["value"] for each in told),
        floor=_mean(each["floor"]["label_with_error"]["value"] for each in told),
        chance=_mean(each["chance"] for each in told),
        excess=student([each["excess"]["value"] for each in told]),
        on=", ".join(sorted({each["on"] for each in told})),
        milliseconds=_mean(_milliseconds(stage) for stage in runs.values()),
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
