"""Probes on planted truths: what is there is told, what is not there is not, as often as the levels say.

The fabricated features hold people's age and themselves; with `shift` above zero the scanner too. In every study age
tells the scanner well above chance, so that a probe which is not held against age would always cry wolf.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabricated_run import SCANS, Study, write_run

from distunlearn.probing.probe import probe

SETS = ("natural", "matched", "travelling")
MORE_TO_MATCH = {**SCANS, "test": {**SCANS["test"], "oasis": 160}}
"""Twice as many people of oasis, whose ages are wide, make 24 to 42 matched people a site in place of 11 to 26: enough
that a planted scanner is shown on every matched set, not on most of them."""
WITH, WITHOUT = Study(shift={"stage": 1.5}), Study(shift={"stage": 0.0})
MOST_OF_SIXTY = 8
"""p values below 0.05, or 95% intervals that miss: a right procedure has more in less than one of a hundred tests."""
MOST_BELOW = 5
"""Of sixty 95% intervals those wholly below the truth: the same for one side."""


def probed(folder: Path, seed: int, study: Study, *, quick: bool) -> dict[str, Any]:
    """What is found in one fabricated study."""
    run = write_run(folder / str(seed), study, seed=seed)
    return probe(run / "stage", quick=quick)


def test_planted_scanners_are_told_and_absent_ones_are_not(tmp_path: Path) -> None:
    """A study with a scanner is called separable; of three without, at most one cries wolf."""
    without = [probed(tmp_path / "without", seed, WITHOUT, quick=True)["verdict"] for seed in range(3)]
    assert probed(tmp_path / "with", 0, WITH, quick=True)["verdict"] == "separable"
    assert without.count("separable") <= 1


@pytest.mark.slow
def test_twenty_planted_scanners_are_told(tmp_path: Path) -> None:
    """Each is called separable, intervals of the excess miss the mean as often as they claim, and lie above zero."""
    told = [probed(tmp_path, seed, replace(WITH, scans=MORE_TO_MATCH), quick=False) for seed in range(20)]
    assert [found["verdict"] for found in told] == ["separable"] * 20
    assert missing_the_mean_of_each_set(told) <= MOST_OF_SIXTY
    assert all(found["sets"]["travelling"]["excess"]["low"] > 0 for found in told)
    assert all(found["sets"]["matched"]["excess"]["low"] > 0 for found in told)


@pytest.mark.slow
def test_of_twenty_studies_without_a_scanner_few_cry_wolf(tmp_path: Path) -> None:
    """At a level of 5% a right procedure calls more than four of twenty separable in less than one of a hundred tests."""
    without = [probed(tmp_path, seed, WITHOUT, quick=False) for seed in range(20)]
    assert [found["verdict"] for found in without].count("separable") <= 4
    sets = [found["sets"][name] for found in without for name in SETS]
    assert sum(each["null"]["p"] <= 0.05 for each in sets) <= MOST_OF_SIXTY
    assert missing_the_mean_of_each_set(without) <= MOST_OF_SIXTY
    assert sum(each["strongest"]["high"] < each["null"]["mean"] for each in sets) <= MOST_BELOW
    missed = [
        each["strongest"]["low"] > each["null"]["mean"] or each["strongest"]["high"] < each["null"]["mean"]
        for each in sets
    ]
    assert sum(missed) <= 6


def missing_the_mean_of_each_set(studies: list[dict[str, Any]]) -> int:
    """How many intervals of the excess do not hold what the studies find on that set on the average."""
    return sum(missing_the_mean([found["sets"][name]["excess"] for found in studies]) for name in SETS)


def missing_the_mean(intervals: list[dict[str, float]]) -> int:
    """How many of the intervals do not hold the mean of all."""
    mean = sum(each["value"] for each in intervals) / len(intervals)
    return sum(not each["low"] <= mean <= each["high"] for each in intervals)
