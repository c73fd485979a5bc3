"""On whom a probe is tried."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from fabricated_run import SCANS, Study, write_run

from distunlearn.evaluate.matching import MATCHED_WITHIN
from distunlearn.evaluate.sets import ScanSet, TooFew, held_out_splits, scan_sets
from distunlearn.evaluate.stage import Stage, read_stage


@pytest.fixture(scope="module")
def stage(fabricated_run: Path) -> Stage:
    """A stage of three sites."""
    return read_stage(fabricated_run / "standard")


def sets_of(stage: Stage, *, most: int = 1000) -> dict[str, ScanSet]:
    """The sets by name; none may be too small."""
    found = scan_sets(stage, seed=0, most=most)
    assert all(isinstance(scans, ScanSet) for scans in found)
    return {scans.name: scans for scans in found if isinstance(scans, ScanSet)}


def test_nobody_who_was_trained_on_is_in_any_set(stage: Stage) -> None:
    """Natural and matched scans are of the test split, travelling ones of their own."""
    for name, scans in sets_of(stage).items():
        splits = set(stage.table["split"].iloc[scans.rows])
        assert splits == ({"travelling"} if name == "travelling" else {"test"})


def test_matched_people_are_of_one_age_and_stay_together(stage: Stage) -> None:
    """Each group holds one person of every site, none further from the smallest site's than allowed, each once."""
    scans = sets_of(stage)["matched"]
    assert len(np.unique(scans.rows)) == len(scans.rows)
    for group in np.unique(scans.group):
        members = scans.group == group
        assert sorted(scans.site[members]) == [0, 1, 2]
        anchor = scans.labels[:, 0][members][scans.site[members] == 2]
        assert np.abs(scans.labels[:, 0][members] - anchor).max() <= MATCHED_WITHIN
    assert len(np.unique(scans.group)) >= 12


def test_matching_takes_age_away(stage: Stage) -> None:
    """The sites' mean ages, years apart in the natural set, differ by less than half a year in the matched one."""
    natural, matched = sets_of(stage)["natural"], sets_of(stage)["matched"]
    assert np.ptp([natural.labels[:, 0][natural.site == site].mean() for site in range(3)]) > 8
    assert np.ptp([matched.labels[:, 0][matched.site == site].mean() for site in range(3)]) < 0.5


def test_sites_are_exchanged_among_people_or_within_one_traveller(stage: Stage) -> None:
    """The null's strata: people of two years of age, the matched, the scans of one traveller."""
    sets = sets_of(stage)
    natural = sets["natural"]
    assert all(np.ptp(natural.labels[:, 0][natural.stratum == name]) <= 2 for name in np.unique(natural.stratum))
    for name in ("matched", "travelling"):
        assert (sets[name].stratum == sets[name].group).all()
        assert len(np.unique(sets[name].unit)) == len(sets[name].rows)


def test_a_traveller_who_missed_a_site_is_left_out(stage: Stage) -> None:
    """Only people who were scanned everywhere are compared between scanners."""
    first = stage.table.index[stage.table["split"] == "travelling"][0]
    fewer = replace(stage, table=stage.table.drop(index=first).reset_index(drop=True))
    assert len(sets_of(fewer)["travelling"].rows) == len(sets_of(stage)["travelling"].rows) - 3


def test_stages_of_a_run_share_their_sets(fabricated_run: Path, stage: Stage) -> None:
    """The sets depend on the scans and the seed, not on the features, so that stages can be compared scan by scan."""
    other = sets_of(read_stage(fabricated_run / "unlearning"), most=50)
    for name, scans in sets_of(stage, most=50).items():
        assert (scans.rows == other[name].rows).all()
    assert np.bincount(other["natural"].site).tolist() == [50, 50, 50]


def test_a_small_test_split_is_joined_by_the_validation_split(tmp_path: Path) -> None:
    """Where a site has few test scans its validation scans help, and the set says so."""
    few = dict(SCANS) | {"test": {"biobank": 40, "oasis": 20, "whitehall": 15}}
    stage = read_stage(write_run(tmp_path / "run", Study(scans=few, travellers=5)) / "standard")
    assert held_out_splits(stage) == ("test", "val")
    natural, _, travelling = scan_sets(stage, seed=0, most=1000)
    assert isinstance(natural, ScanSet)
    assert "test and val" in natural.how
    assert isinstance(travelling, TooFew)
    assert "fewer than two sites" in travelling.why


def test_validation_scans_that_chose_the_weights_are_no_help(tmp_path: Path) -> None:
    """They were looked at: a stage with choose=scanner is probed on its test scans alone, however few."""
    few = dict(SCANS) | {"test": {"biobank": 40, "oasis": 20, "whitehall": 15}}
    run = write_run(tmp_path / "run", Study(scans=few, travellers=5))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["stages"][1]["choose"] = "scanner"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert held_out_splits(read_stage(run / "standard")) == ("test", "val")
    assert held_out_splits(read_stage(run / "unlearning")) == ("test",)


def test_one_site_has_no_scanner_to_tell(stage: Stage) -> None:
    """With a single site of training every set says why it is empty."""
    alone = replace(stage, sites=("oasis",))
    assert all(isinstance(scans, TooFew) and "one site" in scans.why for scans in scan_sets(alone, seed=0, most=1000))


def test_where_a_class_is_predicted_age_is_matched_too(tmp_path: Path) -> None:
    """Features know people's age whatever the task, so that matched people share their class and nearly their age."""
    stage = read_stage(write_run(tmp_path / "run", Study(classes=2)) / "standard")
    assert stage.label_names == ("group", "age")
    matched = sets_of(stage)["matched"]
    for group in np.unique(matched.group):
        classes, ages = matched.labels[matched.group == group].T
        assert len(set(classes)) == 1
        assert np.ptp(ages) <= 2 * MATCHED_WITHIN
