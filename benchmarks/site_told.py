"""What of a recipe's cost is that it does not know the site: the error when somebody tells the site afterwards.

A scan's age is read off the prediction once more, by a cubic spline that is fitted to other held-out people (ten folds):
to those of all sites, or to those of the scan's own site. Where telling the site helps one row and not the other, the
other knew it already. Not in the paper. It looks at test people, after the fact: an account of a result, no result.

    python benchmarks/site_told.py OUT          # the folder of `distunlearn reproduce bar --out OUT`; predictions are enough
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from distunlearn.evaluate.measure import predicted
from distunlearn.evaluate.stage import PERSON, read_predictions
from distunlearn.evaluate.summary import Errors, errors_by_person
from distunlearn.experiments.over_splits import BySplit, averaged, change_of, runs_of
from distunlearn.experiments.reproduce import read_suite

HELD_OUT = ("val", "test")
WAYS = ("as it is", "read off again", "… told the site")


def read_off(held_out: pd.DataFrame, *, told: bool) -> Float[np.ndarray, " scans"]:
    """Ages that are read off the predictions, each by a spline that its person had no part in."""
    ages = np.full(len(held_out), np.nan)
    people = held_out["site"] + held_out[PERSON].astype(str)
    for known, asked in GroupKFold(10).split(held_out, groups=people):
        for fit, use in _at_each_site(held_out, known, asked) if told else [(known, asked)]:
            spline = make_pipeline(SplineTransformer(n_knots=4, extrapolation="linear"), Ridge(0.1))
            spline.fit(held_out[["prediction"]].iloc[fit], held_out["target"].iloc[fit])
            ages[use] = spline.predict(held_out[["prediction"]].iloc[use])
    return ages


def _at_each_site(
    held_out: pd.DataFrame, known: np.ndarray, asked: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    site = held_out["site"].to_numpy()
    for name in np.unique(site[asked]):
        yield known[site[known] == name], asked[site[asked] == name]


def errors_in(stage: Path) -> dict[str, Errors]:
    """The mean error of each held-out person's scans, in each way, years."""
    table = read_predictions(stage).dropna(subset=["target"])
    held_out = table[table["split"].isin(HELD_OUT)].reset_index(drop=True)
    ages = (held_out["prediction"], read_off(held_out, told=False), read_off(held_out, told=True))
    measure = predicted(stage.parent).measure
    return {
        way: errors_by_person(held_out.assign(prediction=own), measure, HELD_OUT)
        for way, own in zip(WAYS, ages, strict=True)
    }


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    suite = read_suite(given.out)
    rows = {row.id: row for row in suite.rows}
    found: dict[str, dict[str, BySplit]] = {}
    for name in ("baseline", "beyond"):
        runs = runs_of(given.out, suite, rows[name])
        each = {split: [errors_in(stage) for stage in stages] for split, stages in runs.items()}
        found[name] = {way: {split: averaged(one[way] for one in ones) for split, ones in each.items()} for way in WAYS}
    print("answer | per-domain loss, years | beyond, years | more, % [90 %]")
    for way in WAYS:
        theirs, ours = found["baseline"][way], found["beyond"][way]
        years = [np.mean([errors.mean() for errors in row.values()]) for row in (theirs, ours)]
        change = change_of(ours, theirs)
        print(f"{way} | {years[0]:.2f} | {years[1]:.2f} | {change.value:+.1f} [{change.low:+.1f}, {change.high:+.1f}]")


if __name__ == "__main__":
    main()
