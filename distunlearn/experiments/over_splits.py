"""What the trainings of a suite's row found, by split: seeds of one split are averaged, errors person by person.

Splits (or studies) are independent of each other, so that intervals are Student's over them. (A bootstrap of so few
would be too narrow.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from distunlearn.evaluate.measure import predicted
from distunlearn.evaluate.stage import PERSON, read_predictions
from distunlearn.evaluate.summary import Errors, errors_by_person
from distunlearn.experiments.intervals import student
from distunlearn.experiments.results import done_runs
from distunlearn.experiments.suite import Row, Suite
from distunlearn.metrics import Interval

ONE_SIDED = 0.90
"""Level of a two-sided interval whose upper end is the one-sided upper 95% end."""
Runs = Mapping[int, Sequence[Path]]
"""The stages of a row's trainings that are done, by split."""
BySplit = Mapping[int, Errors]
"""The mean error of each person's scans, by site and person, for each split; the mean over its trainings."""


def runs_of(out: Path, suite: Suite, row: Row) -> Runs:
    """Of one row."""
    found: dict[int, list[Path]] = {}
    for seed, stage in done_runs(out, suite, row).items():
        found.setdefault(suite.split(seed), []).append(stage)
    return found


def errors_of(runs: Runs, splits: Callable[[pd.DataFrame], tuple[str, ...]]) -> BySplit:
    """Of one row's trainings, each of whose predictions is read here once."""
    return {split: averaged(_of_training(stage, splits) for stage in stages) for split, stages in runs.items()}


def averaged(trainings: Iterable[Errors]) -> Errors:
    """The mean of several trainings' errors, person by person."""
    return pd.concat(trainings).groupby(level=["site", PERSON]).mean()


def _of_training(stage: Path, splits: Callable[[pd.DataFrame], tuple[str, ...]]) -> Errors:
    table = read_predictions(stage)
    return errors_by_person(table, predicted(stage.parent).measure, splits(table))


def by_site(errors: Errors) -> Errors:
    """The mean over each site's people."""
    return errors.groupby(level="site").mean()


def change_of(ours: BySplit, theirs: BySplit) -> Interval:
    """Of the mean error, in percent, over the splits that both have."""
    return student(
        [percent(ours[split].mean(), theirs[split].mean()) for split in sorted(ours.keys() & theirs.keys())], ONE_SIDED
    )


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
