"""The same person on several scanners."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distunlearn.evaluate.sets import ScanSet, scan_sets
from distunlearn.evaluate.stage import Stage, read_stage
from distunlearn.probing.travelling import travelling_figures


@pytest.fixture(scope="module")
def stage(fabricated_run: Path) -> Stage:
    """A stage with 40 travelling people."""
    return read_stage(fabricated_run / "standard")


def travellers_of(stage: Stage) -> ScanSet:
    """Its travelling scans."""
    scans = scan_sets(stage, seed=0, most=100)[2]
    assert isinstance(scans, ScanSet)
    return scans


def test_an_offset_between_scanners_is_found(stage: Stage) -> None:
    """Predictions five years higher at one site are told as an offset of five years, in the right direction."""
    predictions = stage.table["target"] + 5 * (stage.table["site"] == "oasis")
    shifted = replace(stage, table=stage.table.assign(prediction=predictions))
    pairs = travelling_figures(shifted, travellers_of(stage))["pairs"]
    assert pairs["biobank–oasis"]["offset"]["value"] == pytest.approx(5)
    assert pairs["oasis–whitehall"]["offset"]["value"] == pytest.approx(-5)
    assert pairs["biobank–whitehall"]["disagreement"]["value"] == pytest.approx(0)


def test_scanners_that_agree_agree_perfectly(stage: Stage) -> None:
    """The same prediction on every scanner is an agreement of one, whatever it is."""
    same = replace(stage, table=stage.table.assign(prediction=stage.table["target"]))
    found = travelling_figures(same, travellers_of(stage))
    assert found["agreement"] == pytest.approx(1)
    assert found["people"] == 40


def test_feature_distance_is_in_units_of_another_person(stage: Stage) -> None:
    """Nothing where the scanner changes nothing; about one where a scan on another scanner is like another person's."""
    scans = travellers_of(stage)
    rng = np.random.default_rng(0)
    features = np.zeros_like(stage.features)
    features[scans.rows] = rng.normal(size=(40, features.shape[1]))[scans.group]
    assert travelling_figures(replace(stage, features=features), scans)["feature_distance"] == pytest.approx(0)
    features[scans.rows] = rng.normal(size=(120, features.shape[1]))
    assert travelling_figures(replace(stage, features=features), scans)["feature_distance"] == pytest.approx(1, abs=0.1)
