"""How well the scanner can be told on a set of scans: the strongest probe, its and its interval."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from distunlearn.evaluate.classifiers import Probe
from distunlearn.evaluate.folds import Hits, out_of_fold
from distunlearn.evaluate.sets import ScanSet
from distunlearn.metrics import Interval, percentiles, resample_people, resampled_accuracy


@dataclass(frozen=True)
class Told:
    """How often probes told the site, on a set and in bootstrap resamples of its groups.

    Two of them on one set are paired: the resamples are the same.
    """

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
            name: percentiles(_balanced(hit, self.scans.site), self.resampled[name]) for name, hit in self.hits.items()
        }

    @property
    def name(self) -> str:
        """Of the strongest probe."""
        return max(self.accuracy, key=lambda name: self.accuracy[name].value)

    @property
    def strongest_resampled(self) -> Float[ndarray, " R"]:
        """The maximum over the probes, taken anew in each resample."""
        strongest: ndarray = np.max(list(self.resampled.values()), axis=0)
        return strongest

    @property
    def strongest(self) -> Interval:
        """The strongest probe's balanced accuracy; its interval allows for its having been chosen as the strongest."""
        return percentiles(self.accuracy[self.name].value, self.strongest_resampled)

    def above(self, other: "Told") -> Interval:
        """How much better the strongest probe tells the site here than there, on the same scans."""
        difference = self.strongest_resampled - other.strongest_resampled
        return percentiles(self.strongest.value - other.strongest.value, difference)


def _balanced(hit: ndarray, site: Int[ndarray, " n"]) -> float:
    return float(np.mean([hit[site == index].mean() for index in range(site.max() + 1)]))


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
