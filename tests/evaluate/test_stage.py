"""Reading an evaluated stage."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distunlearn.errors import UserError
from distunlearn.evaluate.stage import PERSON, read_stage


@pytest.fixture
def stage_folder(fabricated_run: Path, tmp_path: Path) -> Path:
    """A copy of a stage that a test may spoil."""
    shutil.copytree(fabricated_run, tmp_path / "run")
    return tmp_path / "run" / "standard"


def test_a_traveller_is_one_person_at_all_sites_and_others_are_not(stage_folder: Path) -> None:
    """A traveller's scans share a person; the same pseudonym at two sites is two people."""
    table = pd.read_csv(stage_folder / "predictions.tsv", sep="\t", keep_default_na=False)
    table.loc[table["split"] == "test", "subject"] = "s1"
    table.to_csv(stage_folder / "predictions.tsv", sep="\t", index=False)
    read = read_stage(stage_folder).table
    travelling = read[read["split"] == "travelling"]
    assert travelling.groupby(PERSON)["site"].nunique().eq(3).all()
    assert read.loc[read["split"] == "test", PERSON].nunique() == 3


def test_features_of_other_scans_are_refused(stage_folder: Path) -> None:
    """Features whose keys are not those of the predictions are not silently joined."""
    keys = np.load(stage_folder / "features.npz")["key"]
    np.savez(stage_folder / "features.npz", key=keys[::-1], features=np.zeros((len(keys), 2)))
    with pytest.raises(UserError, match="different scans"):
        read_stage(stage_folder)


def test_a_missing_column_is_named(stage_folder: Path) -> None:
    """A table without predictions is refused by the column's name."""
    table = pd.read_csv(stage_folder / "predictions.tsv", sep="\t").drop(columns="prediction")
    table.to_csv(stage_folder / "predictions.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match="no column prediction"):
        read_stage(stage_folder)


def test_a_site_that_was_left_out_is_not_a_site_of_training(stage_folder: Path) -> None:
    """Sites without a scan in X_p or X_u are not among those whose scanner a probe is to tell."""
    path = stage_folder.parent / "scans.tsv"
    scans = pd.read_csv(path, sep="\t", keep_default_na=False)
    scans.loc[scans["site"] == "oasis", ["main", "unlearn"]] = 0
    scans.to_csv(path, sep="\t", index=False)
    assert read_stage(stage_folder).sites == ("biobank", "whitehall")


def test_a_stage_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    """The error says which file is missing and which command writes it."""
    with pytest.raises(UserError, match="distunlearn evaluate"):
        read_stage(tmp_path / "run" / "standard")
