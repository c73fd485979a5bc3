"""Intervals over few trainings: Student's, and one of differences that holds people and trainings alike.

Dimensions: `S` seeds, `P` people.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import t

from distunlearn.evaluate.summary import Errors
from distunlearn.metrics import LEVEL, Interval


def student(values: Sequence[float] | Float[ndarray, " n"], level: float = LEVEL) -> Interval:
    """Mean with Student's interval; without one for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, np.nan, np.nan)
    half = float(t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def as_text(figure: Interval, digits: int = 2) -> str:
    """A figure with its interval; without one where a single seed gives none."""
    if math.isnan(figure.value):
        return "–"
    if math.isnan(figure.low):
        return f"{figure.value:+.{digits}f}"
    return f"{figure.value:+.{digits}f} [{figure.low:+.{digits}f}, {figure.high:+.{digits}f}]"


def paired(apart: Sequence[Errors]) -> Interval:
    """Mean of differences, a series of people's a seed, with its 95% interval.

    The same people in every seed are a sample, and so are the trainings: `crossed`. Where each seed has a split of its
    own, its mean is one value, and the interval is Student's over seeds. One seed alone tells of its people only.
    """
    people = set(apart[0].index)
    if all(set(each.index) == people for each in apart):
        return crossed(np.stack([each.reindex(apart[0].index).to_numpy() for each in apart]))
    return student([float(each.mean()) for each in apart])


def crossed(apart: Float[ndarray, "S P"]) -> Interval:
    """The grand mean with a 95% interval for other people and other trainings.

    People and seeds are crossed random effects. The halves of Student's intervals of the means of each person and of
    each seed are added as squares (Zou & Donner, Statistics in Medicine 2008), which holds the level whichever varies
    more; resampling three seeds would miss a third of their variance, and not know that they are three.
    """
    mean, by_people, by_seeds = float(apart.mean()), student(apart.mean(axis=0)), student(apart.mean(axis=1))
    halves = [each.high - mean for each in (by_people, by_seeds) if np.isfinite(each.high)]
    half = float(np.hypot.reduce(halves))
    return Interval(mean, mean - half, mean + half)
