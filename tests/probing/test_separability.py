"""The strongest probe and its interval."""

import numpy as np
import pytest
from jaxtyping import Int
from numpy import ndarray

from distunlearn.evaluate.sets import ScanSet
from distunlearn.probing.separability import Told, mean_of, surely


def scans_of(people: int) -> ScanSet:
    """Two sites, one scan a person."""
    site = np.arange(people) % 2
    each = np.arange(people)
    return ScanSet("natural", "", each, site, each, each[:, None].astype(float), each, each, ("a", "b"), ())


def travellers(site: Int[ndarray, " n"]) -> ScanSet:
    """People who were scanned twice, at these sites in turn."""
    rows, person = np.arange(len(site)), np.repeat(np.arange(len(site) // 2), 2)
    return ScanSet("travelling", "", rows, site, person, np.zeros((len(site), 1)), rows, person, ("a", "b"), ())


def told(rates: dict[str, float], *, seed: int = 0, people: int = 200) -> Told:
    """Probes that are right at these rates."""
    rng = np.random.default_rng(seed)
    return Told(scans_of(people), {name: rng.random(people) < rate for name, rate in rates.items()}, 400, seed=0)


def test_the_strongest_is_chosen_anew_in_each_resample() -> None:
    """With two equal probes the interval of the strongest lies above that of either alone."""
    both = told({"one": 0.5, "two": 0.5})
    assert both.strongest.value == max(each.value for each in both.accuracy.values())
    assert (both.strongest.resampled >= both.resampled["one"]).all()
    assert both.strongest.resampled.mean() > max(resampled.mean() for resampled in both.resampled.values())


def test_the_best_of_six_that_know_nothing_is_rarely_above_guessing() -> None:
    """Lower ends at 95% lie above the truth in one of forty; more than 12 of 200 happens less often than in a thousand."""
    above = [
        told({str(name): 0.5 for name in range(6)}, seed=seed, people=80).strongest.low > 0.5 for seed in range(200)
    ]
    assert sum(above) <= 12


def test_the_lower_end_is_not_below_what_a_clear_winner_reaches_alone() -> None:
    """Probes that are far behind cost next to nothing: the lower end of 0.9 is near that of 0.9 alone."""
    alone = told({"one": 0.9}).strongest.low
    among = told({"one": 0.9} | {str(name): 0.5 for name in range(5)}).strongest.low
    assert alone - 0.03 < among <= alone


def test_the_lower_end_is_that_of_a_two_sided_interval() -> None:
    """Of one figure with a normal error it lies 1.96 of them below; of two alike that are independent, 2.24."""
    resampled = 0.7 + 0.02 * np.random.default_rng(0).standard_normal((50_000, 2))
    for figures, expected in (1, 1.960), (2, 2.236):
        low = surely(np.full(figures, 0.7), resampled[:, :figures])
        assert (0.7 - low) / 0.02 == pytest.approx(expected, abs=0.03)


def test_a_difference_is_taken_scan_by_scan() -> None:
    """Against itself a probe differs by nothing at all, though its own interval is wide."""
    same = told({"one": 0.7})
    difference = same.strongest.above(told({"one": 0.7}).strongest)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert same.strongest.interval.high - same.strongest.interval.low > 0.05


def test_a_clear_difference_is_clear() -> None:
    """Nine right of ten against five of ten: the interval of the difference is above zero and holds 0.4."""
    difference = told({"one": 0.9}).strongest.above(told({"one": 0.5}, seed=1).strongest)
    assert 0 < difference.low < 0.4 < difference.high


def test_people_scanned_at_every_site_are_resampled_whole() -> None:
    """A traveller told once of two scans has accuracy one half in every resample."""
    scans = travellers(np.tile([0, 1], 20))
    travelling = Told(scans, {"one": scans.site == 0}, 50, seed=0)
    assert travelling.resampled["one"] == pytest.approx(np.full(50, 0.5))


def test_travellers_are_of_no_site() -> None:
    """Which of a traveller's scans comes first does not matter: how many of either kind are drawn varies."""
    scans = travellers(np.concatenate([np.tile([0, 1], 10), np.tile([1, 0], 10)]))
    told_of_some = Told(scans, {"one": scans.group < 10}, 200, seed=0).resampled["one"]
    assert told_of_some.std() == pytest.approx(np.sqrt(0.25 / 20), rel=0.2)


def test_the_mean_of_draws_is_a_mean_in_every_resample() -> None:
    """A floor from several draws of noise lies between them and varies less than one."""
    draws = [told({"one": 0.4}, seed=seed).strongest for seed in range(5)]
    mean = mean_of(draws)
    assert mean.value == pytest.approx(np.mean([draw.value for draw in draws]))
    assert mean.resampled.std() < min(draw.resampled.std() for draw in draws)
