"""People of one label, one of each site."""

import numpy as np

from distunlearn.evaluate.matching import match


def test_the_summed_difference_is_least() -> None:
    """Partners are assigned together: each nearest one by itself would leave somebody without."""
    site = np.array(["a", "a", "b", "b"])
    labels = np.array([[60.0], [60.8], [60.7], [61.6]])
    groups, sites = match(site, labels, ("a", "b"), fewest=2)
    assert sites == ("a", "b")
    assert sorted(map(tuple, groups.T)) == [(0, 2), (1, 3)]


def test_a_site_that_shares_no_ages_is_left_out() -> None:
    """The sites that can be matched are, and whoever has nobody of their age elsewhere is not."""
    rng = np.random.default_rng(0)
    ages = np.concatenate([rng.uniform(60, 70, 30), rng.uniform(60, 70, 40), rng.uniform(20, 30, 30)])
    site = np.repeat(["old", "older", "young"], [30, 40, 30])
    groups, sites = match(site, ages[:, None], ("old", "older", "young"), fewest=10)
    assert sites == ("old", "older")
    assert groups.shape[1] >= 20
    assert np.abs(np.diff(ages[groups], axis=0)).max() <= 1


def test_a_class_must_be_the_same() -> None:
    """A diagnosis is not matched with the one whose number is next to it."""
    site = np.repeat(["a", "b"], 20)
    labels = np.stack([np.arange(40) % 2, np.linspace(60, 61, 40)], axis=1).astype(float)
    labels[:20, 0] = 0
    groups, _ = match(site, labels, ("a", "b"), fewest=5)
    assert groups.shape[1] == 10
    assert (labels[groups[0], 0] == labels[groups[1], 0]).all()
