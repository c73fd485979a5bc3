"""Nested folds: what probes say of people that they were not fitted on."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from distunlearn.probing.classifiers import PROBES, QUICK, Probe
from distunlearn.probing.folds import out_of_fold


def test_a_person_is_not_recognised_instead_of_the_scanner() -> None:
    """Two nearly equal scans of each person and no word of the site: a probe that saw the other scan would be right."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(60), 2)
    site = np.repeat(np.arange(60) % 2, 2)
    features = rng.normal(size=(60, 8))[person] + 1e-3 * rng.normal(size=(120, 8))
    nearest = {"k nearest": Probe(lambda _: KNeighborsClassifier(1))}
    kept_together = out_of_fold(features, site, person, probes=nearest, seed=0)["k nearest"].mean()
    torn_apart = out_of_fold(features, site, np.arange(120), probes=nearest, seed=0)["k nearest"].mean()
    assert kept_together < 0.65
    assert torn_apart > 0.8


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_tells_what_can_be_told_and_nothing_else(name: str) -> None:
    """Site means three SD apart are told almost always; noise is told about as often as by chance, unequal sites or not."""
    rng = np.random.default_rng(1)
    site = np.repeat([0, 1, 2], [80, 30, 20])
    noise = rng.normal(size=(130, 5))
    shifted = noise + 3 * np.eye(3, 5)[site]
    for features, low, high in ((shifted, 0.85, 1.0), (noise, 0.2, 0.48)):
        told = out_of_fold(features, site, np.arange(130), probes={name: PROBES[name]}, seed=0)[name]
        assert low <= np.mean([told[site == index].mean() for index in range(3)]) <= high


def test_few_scans_are_probed_with_all_that_are_near() -> None:
    """Inner folds that hold fewer than 25 scans try all of them, and no setting is lost to a warning."""
    rng = np.random.default_rng(3)
    features, site = rng.normal(size=(36, 1)), np.arange(36) % 3
    features += 6 * site[:, None]
    told = out_of_fold(features, site, np.arange(36), probes={"k nearest": PROBES["k nearest"]}, seed=0)["k nearest"]
    assert told.mean() > 0.8


def test_folds_depend_on_the_seed_alone() -> None:
    """Twice the same seed is twice the same answer."""
    rng = np.random.default_rng(2)
    features, site = rng.normal(size=(60, 4)), np.arange(60) % 3
    first, second, other = (
        out_of_fold(features, site, np.arange(60), probes=QUICK, seed=seed)["RBF SVM"] for seed in (0, 0, 1)
    )
    assert (first == second).all()
    assert (first != other).any()
