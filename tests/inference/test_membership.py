"""The audit finds members where errors give them away, and nothing where they do not."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distunlearn.inference.membership import STATEMENT, audit
from distunlearn.run_folder import read_json


def fabricate(source: Path, folder: Path, *, train_sd: float, test_sd: float, seed: int = 0) -> Path:
    """A copy of a fabricated run whose errors have these SDs in the training and elsewhere."""
    run = folder / "run"
    shutil.copytree(source, run)
    path = run / "standard" / "predictions.tsv"
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    sd = np.where(table["split"] == "train", train_sd, test_sd)
    table["prediction"] = table["target"] + np.random.default_rng(seed).normal(size=len(table)) * sd
    table.to_csv(path, sep="\t", index=False)
    return run / "standard"


def test_an_overfitted_model_is_found_out(fabricated_run: Path, tmp_path: Path) -> None:
    """Errors six times as large in the test: the AUC is what arithmetic says, 2·atan(6)/π = 0.895, and above 0.8."""
    found = audit(fabricate(fabricated_run, tmp_path, train_sd=1, test_sd=6))
    truth = 2 * np.arctan(6) / np.pi
    assert found["all"]["low"] < truth < found["all"]["high"]
    assert found["all"]["auc"] > 0.8
    assert all(cell["auc"] > 0.8 for cell in found["sites"].values())
    assert found["statement"] == STATEMENT


def test_a_model_that_remembers_nobody(fabricated_run: Path, tmp_path: Path) -> None:
    """Errors alike in training and test: half, over 40 draws, and the interval holds a half as often as it promises."""
    rng, values, held = np.random.default_rng(3), [], 0
    for draw in range(40):
        stage = fabricate(fabricated_run, tmp_path / str(draw), train_sd=4, test_sd=4, seed=int(rng.integers(1 << 30)))
        cell = audit(stage, resamples=400)["all"]
        values.append(cell["auc"])
        held += cell["low"] <= 0.5 <= cell["high"]
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)
    assert held >= 34  # of 40 at 95 %: fewer has a chance below 1 %


def test_few_people_are_suppressed(fabricated_run: Path, tmp_path: Path) -> None:
    """A site with four people in the test, of six scans, gives no figure and no count."""
    stage = fabricate(fabricated_run, tmp_path, train_sd=1, test_sd=6)
    table = pd.read_csv(stage / "predictions.tsv", sep="\t", keep_default_na=False)
    here = (table["site"] == "oasis") & (table["split"] == "test")
    kept = table[here].head(4)
    pd.concat([table[~here], kept, kept.head(2).assign(key=["a", "b"])]).to_csv(
        stage / "predictions.tsv", sep="\t", index=False
    )
    found = audit(stage)
    assert set(found["sites"]["oasis"]) == {"suppressed"}
    assert "auc" in found["sites"]["biobank"]
    assert read_json(stage / "audit.json") == found


def test_classes_are_judged_by_the_probability_of_the_truth(fabricated_run: Path, tmp_path: Path) -> None:
    """A classifier that is sure of its training scans and unsure of others is found out."""
    stage = fabricate(fabricated_run, tmp_path, train_sd=1, test_sd=1)
    table = pd.read_csv(stage / "predictions.tsv", sep="\t", keep_default_na=False)
    truth = np.random.default_rng(0).integers(0, 2, len(table))
    sure = np.where(table["split"] == "train", 0.99, 0.6)
    table = table.assign(target=truth, prediction=truth)
    table["probability_F"] = np.where(truth == 0, sure, 1 - sure)
    table["probability_M"] = 1 - table["probability_F"]
    table.to_csv(stage / "predictions.tsv", sep="\t", index=False)
    assert audit(stage)["all"]["auc"] == 1


def test_scans_that_took_no_part_are_no_members(fabricated_run: Path, tmp_path: Path) -> None:
    """Of split train, but not in X_p: neither counted as trained on nor as held out."""
    stage = fabricate(fabricated_run, tmp_path, train_sd=1, test_sd=6)
    scans = pd.read_csv(stage.parent / "scans.tsv", sep="\t", keep_default_na=False)
    train = scans.index[(scans["split"] == "train") & (scans["site"] == "biobank")]
    scans.loc[train[:60], "main"] = 0
    scans.to_csv(stage.parent / "scans.tsv", sep="\t", index=False)
    assert audit(stage)["sites"]["biobank"]["members"] == len(train) - 60
