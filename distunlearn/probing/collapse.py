"""Whether an encoder has collapsed: features or predictions that say nothing also say nothing of the scanner."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from distunlearn.evaluate.sets import held_out_splits
from distunlearn.evaluate.stage import PERSON, Stage
from distunlearn.evaluate.summary import constant_error
from distunlearn.metrics import mean_sd

LEAST_SPREAD = 0.1
"""Of the predictions' SD within sites, as a share of the targets'."""
LEAST_VARIATION = 1e-4
"""Of the features' SD over people, as a share of their size."""
LEAST_GAIN = 0.05
"""By how much, as a share, the error must be below that of answering the median."""


def collapse_check(stage: Stage) -> dict[str, Any]:
    """Figures of held-out scans of the trained sites, and in `reasons` what is wrong with them (nothing: empty).

    `feature_variation` is the root mean square SD of a feature over its root mean square size; `effective_rank` the
    participation ratio of the features' covariance, (sum of eigenvalues)² / sum of their squares; `prediction_spread`
    the SD of predictions within sites over that of the targets; `error` and `constant_error` means over sites, the
    second of answering the median of all training targets (the most frequent class), where there is such an answer.
    """
    known = stage.table["split"].isin(held_out_splits(stage)) & stage.table["site"].isin(stage.sites)
    known &= stage.table["target"].notna()
    table, features = stage.table[known], stage.features[known.to_numpy()]
    if table.empty:
        return {"reasons": ["no held-out scan of a trained site has a target"]}
    if not (np.isfinite(features).all() and np.isfinite(table["prediction"].to_numpy(float)).all()):
        return {"reasons": ["features or predictions are not finite: the training diverged"]}
    within = table.groupby("site")[["prediction", "target"]].var(ddof=0).mean()
    spread = float(np.sqrt(within["prediction"] / max(within["target"], 1e-12)))
    figures = _feature_figures(features) | {"prediction_spread": spread} | _errors(stage, table)
    return figures | {"reasons": _reasons(figures)}


def _errors(stage: Stage, table: pd.DataFrame) -> dict[str, float]:
    """The error and that of the constant, means over sites; none where no constant answers."""
    measure = stage.predicted.measure
    train = stage.table[(stage.table["split"] == "train") & stage.table["site"].isin(stage.sites)].dropna(
        subset=["target"]
    )
    if measure.constant is None or train.empty:
        return {}
    constant = measure.constant(train["target"])
    sites = [rows for _, rows in table.groupby("site")]
    return {
        "error": float(np.mean([mean_sd(measure.of(rows), rows[PERSON].to_numpy())[0] for rows in sites])),
        "constant_error": float(np.mean([constant_error(rows, measure, constant) for rows in sites])),
    }


def _feature_figures(features: Float[ndarray, "n F"]) -> dict[str, float]:
    size = float(np.sqrt(np.mean(features**2)))
    centred = features - features.mean(axis=0)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    total = float(variances.sum())
    return {
        "feature_variation": float(np.sqrt(np.mean(centred**2))) / size if size > 0 else 0.0,
        "effective_rank": total**2 / float(np.sum(variances**2)) if total > 0 else 0.0,
    }


def _reasons(figures: dict[str, float]) -> list[str]:
    reasons = []
    if figures["feature_variation"] < LEAST_VARIATION:
        reasons.append("the features are the same for everybody")
    if figures["prediction_spread"] < LEAST_SPREAD:
        reasons.append(
            f"within a site, predictions vary by {100 * figures['prediction_spread']:.0f}% of what the targets do"
        )
    error, constant = figures.get("error", 0.0), figures.get("constant_error", np.inf)
    if error > (1 - LEAST_GAIN) * constant:
        reasons.append(f"the error ({error:.2f}) is that of one answer for everybody ({constant:.2f})")
    return reasons
