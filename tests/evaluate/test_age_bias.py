"""The bias towards the mean is undone by a line of the validation split, or it is said why not."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distunlearn.evaluate.age_bias import FEWEST_PEOPLE, fit_correction, fit_corrections
from distunlearn.tasks import Classification, ClassificationConfig, Regression, RegressionConfig

AGES = np.linspace(20, 80, 61)
AGE = Regression.restore(RegressionConfig(), {"mean": [50.0], "sd": [10.0]})


def test_a_known_bias_is_undone() -> None:
    """Predictions that are half way between age and 50 come back as the ages."""
    found = fit_correction(AGES, 25 + 0.5 * AGES)
    assert found.slope == pytest.approx(0.5)
    corrected = [found.apply(prediction) for prediction in 25 + 0.5 * AGES]
    assert corrected == pytest.approx(list(AGES))


def test_correction_takes_the_slope_away_from_noisy_predictions() -> None:
    """Errors of new people do not hang on their age any more."""
    draw = np.random.default_rng(0)
    fitted = fit_correction(AGES, 25 + 0.5 * AGES + draw.normal(0, 3, len(AGES)))
    ages = draw.uniform(20, 80, 2000)
    said = 25 + 0.5 * ages + draw.normal(0, 3, len(ages))
    raw_slope = np.polyfit(ages, said - ages, 1)[0]
    slope = np.polyfit(ages, np.array([fitted.apply(one) for one in said], float) - ages, 1)[0]
    assert raw_slope == pytest.approx(-0.5, abs=0.03)
    assert abs(slope) < 0.1


def test_too_few_people_are_said() -> None:
    """One person less than needed gives no line, and the reason holds both numbers."""
    few = AGES[: FEWEST_PEOPLE - 1]
    found = fit_correction(few, few)
    assert found.apply(50.0) is None
    assert str(FEWEST_PEOPLE - 1) in found.why_not
    assert fit_correction(AGES[:FEWEST_PEOPLE], AGES[:FEWEST_PEOPLE]).slope == pytest.approx(1)


def test_a_model_that_knows_nothing_is_not_corrected() -> None:
    """Predictions without age in them, or against it, are not blown up into ages."""
    noise = np.random.default_rng(1).normal(50, 1, len(AGES))
    for said in (noise, np.full_like(AGES, 50.0), 100 - AGES):
        assert "follow" in fit_correction(AGES, said).why_not


def test_only_validation_scans_of_the_training_sites_are_used(fabricated_run: Path, tmp_path: Path) -> None:
    """Wild predictions in every other split, and of a site that was left out, change nothing."""
    run = tmp_path / "run"
    shutil.copytree(fabricated_run, run)
    path = run / "standard" / "predictions.tsv"
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    before = fit_corrections(path.parent, AGE)["age"]
    assert before.people == (table["split"] == "val").sum()
    elsewhere = table["split"] != "val"
    table.loc[elsewhere, "prediction"] = 3 * table.loc[elsewhere, "prediction"] + 100
    stranger = table[table["split"] == "val"].assign(site="elsewhere", prediction=0.0)
    stranger["subject"] = "x" + stranger["subject"]
    pd.concat([table, stranger]).to_csv(path, sep="\t", index=False)
    assert fit_corrections(path.parent, AGE)["age"] == before


def test_classes_have_no_bias_of_age(fabricated_run: Path) -> None:
    """A task that predicts no numbers gets no correction."""
    state = {"values": [0.0, 1.0], "weights": [1.0, 1.0], "names": ["F", "M"]}
    task = Classification.restore(ClassificationConfig(), state)
    assert fit_corrections(fabricated_run / "standard", task) == {}
