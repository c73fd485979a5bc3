"""What the recipe is held to, and whether it meets it: scanner, task error, error at sites that were left out.

At left-out sites intervals are Student's over the sites, each one's change being the mean over splits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distunlearn.experiments.intervals import student
from distunlearn.experiments.over_splits import (
    ONE_SIDED,
    BySplit,
    anybody,
    by_site,
    change_of,
    errors_of,
    percent,
    runs_of,
)
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
    def digits(self) -> int:
        """To print: thousandths of a balanced accuracy, tenths of a percent."""
        return 3 if self.most < 1 else 1

    @property
    def says(self) -> str:
        """met; missed, where the whole interval lies beyond; or not shown."""
        if np.isnan(self.figure.high):
            return "not shown"
        if self.figure.high <= self.most:
            return "met"
        return "missed" if self.figure.low > self.most else "not shown"


Changes = dict[str, dict[str, float]]
"""Of the error at each site that was left out, in percent, the mean over its splits; by the baseline's id."""


def findings(suite: Suite, bar: Bar, rows: list[Standing], left_out: Changes) -> list[Finding]:
    """The findings on the recipe, as far as its rows are done: scanner, then error and left-out sites of each baseline."""
    standing = {each.row.id: each for each in rows}
    found = []
    if recipe := standing.get(bar.recipe):
        found.append(Finding("scanner told beyond the label, balanced accuracy", recipe.excess, MOST_EXCESS))
    titles = {row.id: row.title for row in suite.rows}
    for name in bar.baselines:
        against, baseline = f"against {titles[name]}, %", standing.get(name)
        if recipe and baseline and recipe.errors.keys() & baseline.errors.keys():
            change = change_of(recipe.errors, baseline.errors)
            found.append(Finding(f"change in task error {against}", change, MOST_CHANGE))
        if changes := list(left_out[name].values()):
            what = f"change at {len(changes)} left-out sites {against}"
            found.append(Finding(what, student(changes, ONE_SIDED), MOST_CHANGE))
    return found


def changes_at_left_out(out: Path, suite: Suite, bar: Bar) -> Changes:
    """How the recipe changes the error at sites that were left out, against each baseline."""
    by_id = {row.id: row for row in suite.rows}
    changes: dict[str, dict[str, list[float]]] = {name: {} for name in bar.baselines}
    for of_group in bar.left_out:
        recipe, *baselines = (errors_of(runs_of(out, suite, by_id[name]), anybody) for name in of_group)
        for name, theirs in zip(bar.baselines, baselines, strict=True):
            for site, change in _apart(recipe, theirs, seen=by_id[of_group[0]].sites):
                changes[name].setdefault(site, []).append(change)
    return {
        name: {site: float(np.mean(values)) for site, values in sorted(of_site.items())}
        for name, of_site in changes.items()
    }


def _apart(ours: BySplit, theirs: BySplit, *, seen: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """The change at each site that was not trained on, on each split that both have."""
    for split in sorted(ours.keys() & theirs.keys()):
        change = percent(by_site(ours[split]), by_site(theirs[split])).drop(list(seen))
        yield from ((str(site), float(value)) for site, value in change.items())
