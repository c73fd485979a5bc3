"""What the recipe is held to, and whether it meets it: scanner, task error, error at sites that were left out.

At left-out sites intervals are Student's over the sites, each one's change being the mean over splits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distunlearn.experiments.over_splits import (
    ONE_SIDED,
    anybody,
    by_site,
    change_of,
    errors_of,
    held_out,
    percent,
    runs_of,
)
from distunlearn.experiments.results import student
from distunlearn.experiments.standing import Standing
from distunlearn.experiments.suite import Bar, Suite
from distunlearn.metrics import Interval

MOST_EXCESS = 0.05
"""Balanced accuracy of the strongest probe above that of a probe on the label with the model's own error."""
MOST_CHANGE = 2.0
"""Percent of the baseline's error."""


@dataclass(frozen=True)
class Finding:
    """One of those that the recipe is held to."""

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


def findings(out: Path, suite: Suite, bar: Bar, rows: list[Standing]) -> list[Finding]:
    """The findings on the recipe, as far as its rows are done: scanner, then error and left-out sites of each baseline."""
    found = []
    for recipe in (each for each in rows if each.row.id == bar.recipe):
        found.append(Finding("scanner told beyond the label, balanced accuracy", recipe.excess, MOST_EXCESS))
    for name in bar.baselines:
        found += _against(out, suite, bar, name)
    return found


def _against(out: Path, suite: Suite, bar: Bar, baseline: str) -> Iterator[Finding]:
    by_id = {row.id: row for row in suite.rows}
    against = f"against {by_id[baseline].title}, %"
    ours, theirs = (errors_of(runs_of(out, suite, by_id[name]), held_out) for name in (bar.recipe, baseline))
    if ours.keys() & theirs.keys():
        yield Finding(f"change in task error {against}", change_of(ours, theirs), MOST_CHANGE)
    changes = list(left_out(out, suite, bar, baseline).values())
    if changes:
        yield Finding(f"change at {len(changes)} left-out sites {against}", student(changes, ONE_SIDED), MOST_CHANGE)


def left_out(out: Path, suite: Suite, bar: Bar, baseline: str) -> dict[str, float]:
    """The change against a baseline at each site that was left out, in percent, the mean over its splits."""
    by_id, place = {row.id: row for row in suite.rows}, bar.baselines.index(baseline) + 1
    changes: dict[str, list[float]] = {}
    for of_group in bar.left_out:
        row, other = by_id[of_group[0]], by_id[of_group[place]]
        here, there = (errors_of(runs_of(out, suite, each), anybody) for each in (row, other))
        for split in sorted(here.keys() & there.keys()):
            change = percent(by_site(here[split]), by_site(there[split])).drop(list(row.sites))
            for site, value in change.items():
                changes.setdefault(str(site), []).append(float(value))
    return {site: float(np.mean(values)) for site, values in sorted(changes.items())}
