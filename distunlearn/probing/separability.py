"""How well the scanner can be told on a set of scans: the strongest probe and its interval.

Dimensions: `R` bootstrap resamples, `P` groups of scans, `C` probes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from distunlearn.evaluate.sets import ScanSet
from distunlearn.metrics import LEVEL, Interval, balanced_accuracy, percentiles, resample_people, resampled_accuracy
from distunlearn.probing.classifiers import Probe
from distunlearn.probing.folds import Hits, out_of_fold


@dataclass(frozen=True)
class Strongest:
    """Balanced accuracy of the strongest of several probes, and in bootstrap resamples, the maximum taken in each.

    Two of them on one set of scans are paired: their resamples are the same.
    """

    value: float
    low: float
    """What the best of the probes surely reaches: the greatest of their lower ends, which hold together (`surely`)."""
    resampled: Float[ndarray, " R"]

    @property
    def interval(self) -> Interval:
        """With an interval that allows for the probe's having been chosen as the strongest."""
        return Interval(self.value, self.low, percentiles(self.value, self.resampled).high)

    def above(self, other: "Strongest") -> Interval:
        """How much better the site is told here than there, on the same scans."""
        return percentiles(self.value - other.value, self.resampled - other.resampled)


def mean_of(draws: Sequence[Strongest]) -> Strongest:
    """The mean over draws of something random, such as the noise that was added to ages."""
    return Strongest(
        float(np.mean([draw.value for draw in draws])),
        float(np.mean([draw.low for draw in draws])),
        np.mean([draw.resampled for draw in draws], axis=0),
    )


def surely(values: Float[ndarray, " C"], resampled: Float[ndarray, "R C"], *, level: float = LEVEL) -> float:
    """The lower end of the best of several figures, each of which was known with its own error.

    The greatest of lower ends that hold for all of them at once (max-t). The maximum of resampled figures is no help
    here: it is too high by as much again as the maximum of the figures themselves.

    Args:
        values: the figures.
        resampled: the same in bootstrap resamples.
        level: of the two-sided interval whose lower end this is.
    """
    sd = np.maximum(resampled.std(axis=0), 1e-12)
    most = np.quantile(((resampled - values) / sd).max(axis=1), (1 + level) / 2)
    return float((values - most * sd).max())


@dataclass(frozen=True)
class Told:
    """How often each probe told the site, on a set and in bootstrap resamples of its groups."""

    scans: ScanSet
    hits: Hits
    resamples: int
    seed: int

    @cached_property
    def resampled(self) -> dict[str, Float[ndarray, " R"]]:
        """Balanced accuracy of each probe in each resample."""
        times = resample_people(_home(self.scans), self.resamples, seed=self.seed)
        return {
            name: resampled_accuracy(hit, self.scans.site, self.scans.group, times) for name, hit in self.hits.items()
        }

    @cached_property
    def accuracy(self) -> dict[str, Interval]:
        """Balanced accuracy of each probe."""
        return {
            name: percentiles(balanced_accuracy(hit, self.scans.site), self.resampled[name])
            for name, hit in self.hits.items()
        }

    @property
    def name(self) -> str:
        """Of the strongest probe."""
        return max(self.accuracy, key=lambda name: self.accuracy[name].value)

    @cached_property
    def strongest(self) -> Strongest:
        """The strongest probe's balanced accuracy."""
        values = np.array([each.value for each in self.accuracy.values()])
        resampled = np.stack(list(self.resampled.values()), axis=1)
        return Strongest(float(values.max()), surely(values, resampled), resampled.max(axis=1))


def _home(scans: ScanSet) -> Int[ndarray, " P"]:
    """The stratum of each group for resampling: its site, or one for all where every group has every site."""
    first = scans.site[np.unique(scans.group, return_index=True)[1]]
    of_one_site = bool((scans.site == first[scans.group]).all())
    return first if of_one_site else np.zeros_like(first)


def tell(
    features: Float[ndarray, "n F"], scans: ScanSet, *, probes: Mapping[str, Probe], resamples: int, seed: int
) -> Told:
    """Let the probes tell the site of each scan of a set from `features`, rows as in the set."""
    return Told(scans, out_of_fold(features, scans.site, scans.group, probes=probes, seed=seed), resamples, seed)
