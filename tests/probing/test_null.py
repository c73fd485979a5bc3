"""The label-permutation null."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distunlearn.evaluate.sets import ScanSet, scan_sets
from distunlearn.evaluate.stage import Stage, read_stage
from distunlearn.probing import null as module
from distunlearn.probing.null import Null, null


def scan_set(stage: Stage, name: str) -> ScanSet:
    """A set of a stage by name."""
    found = next(scans for scans in scan_sets(stage, seed=0, most=80) if scans.name == name)
    assert isinstance(found, ScanSet)
    return found


@pytest.mark.parametrize("name", ["natural", "matched", "travelling"])
def test_exchanging_keeps_each_stratum_as_it_is(fabricated_run: Path, name: str) -> None:
    """As many of each site in every stratum as before, a person's scans under one site, and not the same order."""
    scans = scan_set(read_stage(fabricated_run / "standard"), name)
    exchanged = module._exchanged(scans, np.random.default_rng(0))
    assert (exchanged != scans.site).any()
    for stratum in np.unique(scans.stratum):
        members = scans.stratum == stratum
        assert sorted(exchanged[members]) == sorted(scans.site[members])
    for unit in np.unique(scans.unit):
        assert len(set(exchanged[scans.unit == unit])) == 1


def test_all_permutations_at_once_are_each_by_itself(fabricated_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One solution for many permutations gives what a solution a permutation gives."""
    stage = read_stage(fabricated_run / "standard")
    scans = scan_set(stage, "natural")
    together = null(stage.features[scans.rows], scans, permutations=6, seed=0)
    monkeypatch.setattr(module, "MOST_NUMBERS", 1)
    apart = null(stage.features[scans.rows], scans, permutations=6, seed=0)
    assert together.observed == apart.observed
    assert together.permuted == pytest.approx(apart.permuted)


def test_a_scanner_in_the_features_stands_out_from_the_null(fabricated_run: Path) -> None:
    """With the scanner in the features, no permutation is told as well; without it, some are."""
    for stage_name, least, most in (("standard", 0.0, 0.011), ("unlearning", 0.02, 1.0)):
        stage = read_stage(fabricated_run / stage_name)
        for name in ("natural", "matched", "travelling"):
            scans = scan_set(stage, name)
            assert least < null(stage.features[scans.rows], scans, permutations=99, seed=0).p <= most


def test_what_age_tells_is_part_of_the_null(fabricated_run: Path) -> None:
    """Features that are nothing but age tell natural sites far above chance, and so does the null: p stays large."""
    stage = read_stage(fabricated_run / "standard")
    scans = scan_set(stage, "natural")
    result = null(scans.labels, scans, permutations=99, seed=0)
    assert result.observed > 0.45
    assert result.permuted.mean() > 0.45
    assert result.p > 0.05


def test_nobody_is_in_two_folds_of_the_null() -> None:
    """Two nearly equal scans of each person and no word of the site: exchanged person by person, neither is told."""
    rng, people = np.random.default_rng(0), np.repeat(np.arange(60), 2)
    scans, together = np.arange(120), np.zeros(120, dtype=int)
    twice = ScanSet("natural", "", scans, people % 2, people, np.zeros((120, 1)), people, together, ("a", "b"), ())
    features = rng.normal(size=(60, 90))[people] + 1e-3 * rng.normal(size=(120, 90))
    assert null(features, twice, permutations=19, seed=0).permuted.mean() < 0.65


def test_a_p_value_is_never_zero() -> None:
    """The true sites count among the permutations."""
    result = Null(0.9, np.full(99, 0.4))
    assert result.p == pytest.approx(0.01)
    assert result.p_below == pytest.approx(1.0)


def test_centring_each_site_turns_the_scanner_round(fabricated_run: Path) -> None:
    """Features centred by site over all scans are told worse than by chance: information, and found as such."""
    stage = read_stage(fabricated_run / "unlearning")
    scans = scan_set(stage, "matched")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(scans.rows), 40))
    for site in range(3):
        features[scans.site == site] -= features[scans.site == site].mean(axis=0)
    apart = replace(scans, group=np.arange(len(scans.rows)))
    assert null(features, apart, permutations=199, seed=0).p_below <= 0.01
