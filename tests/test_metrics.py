"""Figures of merit against plain loops, published values and their own claims."""

import numpy as np
import pytest

from distunlearn.metrics import (
    agreement,
    balanced_accuracy,
    bootstrap_mean,
    mean_over_sites,
    mean_sd,
    percentiles,
    resample_people,
    resampled_accuracy,
)


def test_a_person_who_was_scanned_often_counts_once() -> None:
    """A mean is that over people of each one's mean, its SD that over people."""
    error, sd = mean_sd(np.array([1.0, 3.0, 2.0, 4.0]), np.array(["a", "a", "a", "b"]))
    assert error == pytest.approx((2 + 4) / 2)
    assert sd == pytest.approx(np.std([2, 4], ddof=1))


def test_the_mean_over_sites_is_of_their_means_and_its_interval_covers_it() -> None:
    """A site of few people weighs as one of many; over 200 draws the interval holds the truth about as often as it says."""
    values, sites = np.array([1.0, 1.0, 1.0, 5.0]), np.array(["a", "a", "a", "b"])
    assert mean_over_sites(values, sites).value == pytest.approx(3.0)
    rng, sites = np.random.default_rng(0), np.repeat(["a", "b"], [60, 25])
    drawn = [mean_over_sites(rng.normal(size=85) + (sites == "b"), sites, resamples=300) for _ in range(200)]
    assert 178 <= sum(each.low <= 0.5 <= each.high for each in drawn) <= 200


def test_a_large_site_does_not_outvote_a_small_one() -> None:
    """Balanced accuracy is the mean over sites, so calling every scan the large site's is right one half of the time."""
    site = np.array([0] * 98 + [1] * 2)
    assert balanced_accuracy(site == 0, site) == 0.5


def test_resampling_keeps_each_site_as_large_as_it_is() -> None:
    """Every resample holds as many people of every stratum as there are, so that no site vanishes."""
    stratum = np.array([0] * 30 + [1] * 3)
    times = resample_people(stratum, 50, seed=0)
    assert (times[:, :30].sum(axis=1) == 30).all()
    assert (times[:, 30:].sum(axis=1) == 3).all()
    assert len(np.unique(times, axis=0)) == 50


def test_resampled_accuracy_is_that_of_the_scans_drawn() -> None:
    """Counting hits with weights gives what repeating every scan as often as its person is drawn gives."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 2)
    sites = np.repeat(np.arange(20) % 2, 2)
    hits = rng.random(40) < 0.6
    times = resample_people(np.arange(20) % 2, 7, seed=1)
    fast = resampled_accuracy(hits, sites, people, times)
    for drawn, accuracy in zip(times, fast, strict=True):
        scans = np.repeat(np.arange(40), drawn[people])
        assert accuracy == pytest.approx(np.mean([hits[scans][sites[scans] == site].mean() for site in (0, 1)]))


def test_a_bootstrap_interval_holds_the_mean_as_often_as_it_says() -> None:
    """Of 300 samples of 40 people, about 95% of the intervals hold the true mean (at least 90%, at most 98.5%)."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        interval = bootstrap_mean(rng.gamma(4.0, size=40), np.arange(40), resamples=400)
        held += interval.low <= 4.0 <= interval.high
    assert 270 <= held <= 295


def test_percentiles_cut_off_what_the_level_says() -> None:
    """A 90% interval leaves five percent on either side."""
    interval = percentiles(50.0, np.arange(101.0), level=0.9)
    assert (interval.low, interval.high) == pytest.approx((5.0, 95.0))


def test_agreement_is_that_of_shrout_and_fleiss() -> None:
    """Their Table 2 of six people and four judges has ICC(2,1) = 0.29."""
    ratings = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
    )
    assert agreement(ratings) == pytest.approx(0.29, abs=0.005)
    assert agreement(np.tile(np.arange(6.0)[:, None], 3)) == pytest.approx(1.0)
    assert agreement(np.ones((6, 3))) == 0.0
