"""Errors a split and site, beside those of the median."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_run import SCANS, Study, write_run

from distunlearn.evaluate.summary import summarise
from distunlearn.run_folder import read_json


def test_cells_are_those_of_the_table(fabricated_run: Path) -> None:
    """Error, SD and the errors of both medians are what pandas says, and what is returned is what is written."""
    result = summarise(fabricated_run / "standard")
    table = pd.read_csv(fabricated_run / "standard" / "predictions.tsv", sep="\t")
    rows = table[(table["split"] == "test") & (table["site"] == "oasis")]
    train = table[table["split"] == "train"]
    errors = (rows["prediction"] - rows["target"]).abs()
    cell = result["splits"]["test"]["oasis"]
    assert cell["error"] == pytest.approx(errors.mean())
    assert cell["sd"] == pytest.approx(errors.std())
    assert cell["constant_error"] == pytest.approx((rows["target"] - train["target"].median()).abs().mean())
    own = train.loc[train["site"] == "oasis", "target"].median()
    assert cell["site_constant_error"] == pytest.approx((rows["target"] - own).abs().mean())
    assert cell["low"] < cell["error"] < cell["high"]
    assert result == read_json(fabricated_run / "standard" / "summary.json")


def test_a_site_of_few_people_is_not_told(tmp_path: Path) -> None:
    """Four people's error would tell of single people, however many scans they have."""
    few = {split: counts | ({"oasis": 4} if split == "test" else {}) for split, counts in SCANS.items()}
    run = write_run(tmp_path / "run", Study(scans=few))
    cell = summarise(run / "standard")["splits"]["test"]["oasis"]
    assert cell == {"suppressed": "fewer than 5 people"}


def test_the_median_is_that_of_the_sites_trained_on(tmp_path: Path) -> None:
    """A site that was left out does not help to choose the constant, and has no median of its own."""
    run = write_run(tmp_path / "run")
    scans = pd.read_csv(run / "scans.tsv", sep="\t", keep_default_na=False)
    scans.loc[scans["site"] == "oasis", ["main", "unlearn"]] = 0
    scans.to_csv(run / "scans.tsv", sep="\t", index=False)
    result = summarise(run / "standard")
    kept = scans[(scans["split"] == "train") & (scans["site"] != "oasis")]
    assert result["constants"]["all sites"] == pytest.approx(kept["age"].astype(float).median())
    assert result["splits"]["test"]["oasis"]["site_constant_error"] is None


def test_a_run_that_diverged_is_summarised_without_figures(fabricated_run: Path, tmp_path: Path) -> None:
    """Predictions that are no numbers give no mean, and no crash."""
    shutil.copytree(fabricated_run, tmp_path / "run")
    path = tmp_path / "run" / "standard" / "predictions.tsv"
    pd.read_csv(path, sep="\t", keep_default_na=False).assign(prediction=np.nan).to_csv(
        path, sep="\t", index=False, na_rep="n/a"
    )
    cells = summarise(path.parent)["splits"]["test"]
    assert all(cell == {"suppressed": "predictions are not finite"} for cell in cells.values())


def test_classes_are_counted_and_not_subtracted(tmp_path: Path) -> None:
    """For a classification the error is the share of scans called wrongly, beside that of the most frequent class."""
    run = write_run(tmp_path / "run", Study(classes=3))
    result = summarise(run / "standard")
    table = pd.read_csv(run / "standard" / "predictions.tsv", sep="\t")
    rows = table[(table["split"] == "test") & (table["site"] == "oasis")]
    frequent = table.loc[table["split"] == "train", "target"].mode()[0]
    cell = result["splits"]["test"]["oasis"]
    assert (result["measure"], result["unit"], result["target"]) == ("error rate", "%", "group")
    assert cell["error"] == pytest.approx(100 * (rows["prediction"] != rows["target"]).mean())
    assert cell["constant_error"] == pytest.approx(100 * (rows["target"] != frequent).mean())
