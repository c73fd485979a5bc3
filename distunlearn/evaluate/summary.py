"""The error of a stage, a split and a site, beside the error of answering the median."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from distunlearn.evaluate.measure import Measure, predicted
from distunlearn.evaluate.stage import PERSON, read_predictions, trained_sites
from distunlearn.metrics import bootstrap_mean, mean_sd
from distunlearn.run_folder import SUMMARY, write_json
from distunlearn.shard_format import SPLITS

ALL = "all sites"
"""The key of the constant that is chosen from the training scans of all sites."""
FEWEST_PEOPLE = 5
"""Of a site in a split; with fewer, nothing is written, because the figures would tell of single people."""


def summarise(stage_folder: Path) -> dict[str, Any]:
    """Compute and write `summary.json`.

    A cell holds `people`, `scans`, `error` and `sd` over people (the paper's cells; for a segmentation the Dice score),
    `low` and `high` (95% interval of the mean, resampling people), `bias` (mean of prediction - target) and the errors
    of two models that look at no scan: `constant_error` answers the median target (for classes the most frequent one)
    of all training scans, `site_constant_error` that of the training scans of the scan's own site. The second is what
    a model reaches that knows nothing but the scanner.

    Raises:
        UserError: the stage has not been evaluated.
    """
    table = read_predictions(stage_folder).dropna(subset=["target"])
    what = predicted(stage_folder.parent)
    sites = trained_sites(stage_folder, table)
    train = table[(table["split"] == "train") & table["site"].isin(sites)]
    constants = _constants(train, what.measure)
    splits = {
        split: {
            str(site): _cell(rows, what.measure, constants)
            for site, rows in table[table["split"] == split].groupby("site")
        }
        for split in SPLITS
        if (table["split"] == split).any()
    }
    result = {
        "stage": stage_folder.name,
        "target": what.target,
        "measure": what.measure.name,
        "unit": what.measure.unit,
        "constant": what.measure.constant_name,
        "more_is_better": what.measure.more_is_better,
        "trained_on": list(sites),
        "constants": constants,
        "splits": splits,
    }
    write_json(stage_folder / SUMMARY, result)
    return result


def _constants(train: pd.DataFrame, measure: Measure) -> dict[str, float]:
    """What to answer everybody, by site and over all."""
    if measure.constant is None or train.empty:
        return {}
    by_site = {str(site): measure.constant(rows["target"]) for site, rows in train.groupby("site")}
    return {ALL: measure.constant(train["target"])} | by_site


def _cell(rows: pd.DataFrame, measure: Measure, constants: dict[str, float]) -> dict[str, Any]:
    people = rows[PERSON].to_numpy()
    if rows[PERSON].nunique() < FEWEST_PEOPLE:
        return {"suppressed": f"fewer than {FEWEST_PEOPLE} people"}
    errors = measure.of(rows)
    if not np.isfinite(errors).all():
        return {"suppressed": "predictions are not finite"}
    error, sd = mean_sd(errors, people)
    interval = bootstrap_mean(errors, people)
    site = str(rows["site"].iloc[0])
    return {
        "people": int(rows[PERSON].nunique()),
        "scans": len(rows),
        "error": error,
        "sd": sd,
        "low": interval.low,
        "high": interval.high,
        "bias": mean_sd((rows["prediction"] - rows["target"]).to_numpy(float), people)[0],
        "constant_error": constant_error(rows, measure, constants.get(ALL)),
        "site_constant_error": constant_error(rows, measure, constants.get(site)),
    }


Errors: TypeAlias = "pd.Series[float]"
"""Of people, by site and person."""


def errors_by_person(table: pd.DataFrame, measure: Measure, splits: Sequence[str] = ("test",)) -> Errors:
    """The mean error of each person's scans in these splits, by site and person."""
    rows = table[table["split"].isin(splits)].dropna(subset=["target"])
    errors = pd.Series(measure.of(rows), rows.index)
    return errors.groupby([rows["site"], rows[PERSON]]).mean()


def constant_error(rows: pd.DataFrame, measure: Measure, constant: float | None) -> float | None:
    """The error of answering `constant` for everybody, mean over people; None where there is no such answer."""
    if constant is None:
        return None
    return mean_sd(measure.of(rows.assign(prediction=constant)), rows[PERSON].to_numpy())[0]
