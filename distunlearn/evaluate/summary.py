"""The error of a stage, a split and a site, beside the error of answering the median."""

from pathlib import Path
from typing import Any

import pandas as pd

from distunlearn.evaluate.stage import PERSON, read_predictions, trained_sites
from distunlearn.metrics import bootstrap_mean, constant_error, mae
from distunlearn.run_folder import SUMMARY, write_json
from distunlearn.shard_format import SPLITS

FEWEST_PEOPLE = 5
"""Of a site in a split; with fewer, nothing is written, because the figures would tell of single people."""


def summarise(stage_folder: Path) -> dict[str, Any]:
    """Compute and write `summary.json`.

    A cell holds `people`, `scans`, `mae` and `sd` over people (the paper's cells), `low` and `high` (95% interval of
    the mean, resampling people), `bias` (mean of prediction - target) and the errors of two models that look at no
    scan: `median_error` answers the median target of all training scans, `site_median_error` that of the training
    scans of the scan's own site. The second is what a model reaches that knows nothing but the scanner.

    Raises:
        UserError: the stage has not been evaluated.
    """
    table = read_predictions(stage_folder).dropna(subset=["target"])
    train = table[table["split"] == "train"]
    sites = trained_sites(stage_folder, table)
    train = train[train["site"].isin(sites)]
    medians: dict[str, float] = {"all": float(train["target"].median())} | {
        str(site): float(rows["target"].median()) for site, rows in train.groupby("site")
    }
    splits = {
        split: _by_site(table[table["split"] == split], medians) for split in SPLITS if (table["split"] == split).any()
    }
    result = {
        "stage": stage_folder.name,
        "unit": "years",
        "trained_on": list(sites),
        "training_median": medians,
        "splits": splits,
    }
    write_json(stage_folder / SUMMARY, result)
    return result


def _by_site(table: pd.DataFrame, medians: dict[str, float]) -> dict[str, dict[str, Any]]:
    return {str(site): _cell(rows, medians["all"], medians.get(str(site))) for site, rows in table.groupby("site")}


def _cell(rows: pd.DataFrame, median: float, site_median: float | None) -> dict[str, Any]:
    people = rows[PERSON].to_numpy()
    if rows[PERSON].nunique() < FEWEST_PEOPLE:
        return {"suppressed": f"fewer than {FEWEST_PEOPLE} people"}
    if rows["prediction"].isna().any():
        return {"suppressed": "predictions are not finite"}
    target, prediction = rows["target"].to_numpy(float), rows["prediction"].to_numpy(float)
    error, sd = mae(target, prediction, people)
    interval = bootstrap_mean(abs(prediction - target), people)
    return {
        "people": int(rows[PERSON].nunique()),
        "scans": len(rows),
        "mae": error,
        "sd": sd,
        "low": interval.low,
        "high": interval.high,
        "bias": bootstrap_mean(prediction - target, people).value,
        "median_error": constant_error(target, median, people),
        "site_median_error": None if site_median is None else constant_error(target, site_median, people),
    }
