"""Figures of merit and their intervals: errors a person, balanced accuracy, agreement, bootstrap over people.

Dimensions: `n` scans, `P` people, `S` sites, `R` resamples, `k` raters (scanners).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

LEVEL = 0.95
"""Of every interval, unless told otherwise."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def mean_by_person(values: Float[ndarray, " n"], people: Shaped[ndarray, " n"]) -> Float[ndarray, " P"]:
    """One value a person, the mean over their scans, so that who was scanned often does not count more often."""
    _, code = np.unique(people, return_inverse=True)
    return np.bincount(code, weights=values) / np.bincount(code)


def mean_sd(values: Float[ndarray, " n"], people: Shaped[ndarray, " n"]) -> tuple[float, float]:
    """Mean and SD over people, such as those of absolute errors: the cells of the paper's Tables 1 and 2.

    Example:
        >>> mean_sd(np.array([1.0, 3.0, 4.0]), np.array(["a", "a", "b"]))
        (3.0, 1.4142135623730951)
    """
    each = mean_by_person(values, people)
    return float(each.mean()), float(each.std(ddof=1)) if len(each) > 1 else float("nan")


def balanced_accuracy(hits: Bool[ndarray, " n"], sites: Int[ndarray, " n"]) -> float:
    """Mean over the sites (classes) that occur of the share told; chance is one over their number, whatever their sizes.

    Args:
        hits: whether each scan's site was told.
        sites: index of each scan's site.

    Example:
        >>> balanced_accuracy(np.array([True, True, True, False]), np.array([0, 0, 0, 1]))
        0.5
    """
    return float(np.mean([np.mean(hits[sites == site]) for site in np.unique(sites)]))


def percentiles(value: float, resampled: Float[ndarray, " R"], *, level: float = LEVEL) -> Interval:
    """The percentile interval of a figure's bootstrap resamples."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def resample_people(stratum: Shaped[ndarray, " P"], resamples: int, *, seed: int) -> Int[ndarray, "R P"]:
    """How often each person is drawn in each bootstrap resample; every stratum (a site) keeps its number of people."""
    rng = np.random.default_rng(seed)
    times = np.zeros((resamples, len(stratum)), dtype=np.int64)
    for name in np.unique(stratum):
        members = np.flatnonzero(stratum == name)
        times[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    return times


def bootstrap_mean(
    values: Float[ndarray, " n"], people: Shaped[ndarray, " n"], *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The mean over people of each one's mean, with its interval from resampling people."""
    each = mean_by_person(values, people)
    times = resample_people(np.zeros(len(each)), resamples, seed=seed)
    return percentiles(each.mean(), times @ each / len(each))


def mean_over_sites(
    values: Float[ndarray, " P"], sites: Shaped[ndarray, " P"], *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The mean over sites of the mean over a site's people, with its interval from resampling people within sites."""
    times = resample_people(sites, resamples, seed=seed)
    of_site = np.stack([(sites == site) / np.sum(sites == site) for site in np.unique(sites)], axis=1)  # P S
    weighted = values[:, None] * of_site
    return percentiles(weighted.sum(axis=0).mean(), (times @ weighted).mean(axis=1))


def resampled_accuracy(
    hits: Bool[ndarray, " n"], sites: Int[ndarray, " n"], people: Int[ndarray, " n"], times: Int[ndarray, "R P"]
) -> Float[ndarray, " R"]:
    """Balanced accuracy in each bootstrap resample of people, all scans of a person staying together.

    Args:
        hits: whether each scan's site was told.
        sites: index of each scan's site, every index in use.
        people: index of each scan's person, the column of `times`.
        times: how often each person is drawn, from `resample_people`.
    """
    shape = (times.shape[1], int(sites.max()) + 1)
    scans, told = np.zeros(shape), np.zeros(shape)
    np.add.at(scans, (people, sites), 1)
    np.add.at(told, (people, sites), hits)
    accuracy: ndarray = np.mean((times @ told) / (times @ scans), axis=1)
    return accuracy


def agreement(ratings: Float[ndarray, "P k"]) -> float:
    """Intraclass correlation ICC(2,1): how far single scanners agree on a person in absolute terms (Shrout & Fleiss 1979).

    One when every scanner says the same of everybody, near zero when scanner and noise outweigh the people.
    """
    people, raters = ratings.shape
    grand = ratings.mean()
    between_people = raters * np.sum((ratings.mean(axis=1) - grand) ** 2) / (people - 1)
    between_raters = people * np.sum((ratings.mean(axis=0) - grand) ** 2) / (raters - 1)
    rest = ratings - ratings.mean(axis=1, keepdims=True) - ratings.mean(axis=0) + grand
    residual = np.sum(rest**2) / ((people - 1) * (raters - 1))
    spread = between_people + (raters - 1) * residual + raters * (between_raters - residual) / people
    return float((between_people - residual) / spread) if spread > 0 else 0.0
