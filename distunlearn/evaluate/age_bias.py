"""Predictions regress to the mean: the old are called younger, the young older; a line of the validation scans undoes it.

Dimensions: `n` scans.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy import stats

from distunlearn.evaluate.stage import PERSON, read_predictions, trained_sites
from distunlearn.metrics import LEVEL
from distunlearn.strict import Strict
from distunlearn.tasks import Task

FEWEST_PEOPLE = 20
"""Of the validation split; a line through fewer is not worth its name."""


class Correction(Strict):
    """`prediction = slope * target + intercept` over the people of the validation split, or why there is none."""

    people: int
    slope: float | None = None
    intercept: float | None = None
    why_not: str = ""

    def apply(self, prediction: float) -> float | None:
        """The corrected prediction, `(prediction - intercept) / slope` (Cole et al. 2018): no true age is needed."""
        if self.slope is None or self.intercept is None:
            return None
        return (prediction - self.intercept) / self.slope


def fit_correction(target: Float[ndarray, " n"], prediction: Float[ndarray, " n"]) -> Correction:
    """The line, unless there are too few people or the predictions do not follow the target.

    Args:
        target: what is true, one value a person.
        prediction: what was said of them, in the same unit.
    """
    people = len(target)
    if people < FEWEST_PEOPLE:
        return Correction(people=people, why_not=f"{people} people for validation, and {FEWEST_PEOPLE} are needed")
    if np.ptp(target) == 0:
        return Correction(people=people, why_not="all people of the validation are alike")
    line = stats.linregress(target, prediction)
    least = line.slope - stats.t.ppf((1 + LEVEL) / 2, people - 2) * line.stderr
    if not least > 0:
        return Correction(people=people, why_not="predictions of the validation do not follow the truth")
    return Correction(people=people, slope=float(line.slope), intercept=float(line.intercept))


def fit_corrections(stage_folder: Path, task: Task) -> dict[str, Correction]:
    """One correction for each number that the task predicts, from validation scans of the training's sites alone.

    Args:
        stage_folder: holds predictions.tsv.
        task: a task that predicts no numbers has no corrections.

    Raises:
        UserError: the stage has no predictions.
    """
    if task.predicted != task.targets:
        return {}
    table = read_predictions(stage_folder)
    seen = (table["split"] == "val") & table["site"].isin(trained_sites(stage_folder, table))
    return {name: _fit(table[seen], "" if index == 0 else f"_{name}") for index, name in enumerate(task.targets)}


def _fit(table: pd.DataFrame, suffix: str) -> Correction:
    pair = [f"target{suffix}", f"prediction{suffix}"]
    known = table.dropna(subset=pair).groupby(PERSON)[pair].mean().to_numpy(float)
    return fit_correction(known[:, 0], known[:, 1])
