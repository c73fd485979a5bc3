"""The label-permutation null: what is told when sites are exchanged among people of the same label.

Dimensions: `n` scans, `F` features, `K` permutations, `S` sites.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from distunlearn.evaluate.sets import ScanSet

FOLDS = 5
MOST_NUMBERS = 20_000_000
"""In memory at once: permutations × scans × sites."""
RIDGES: dict[str, tuple[str, float]] = {
    "linear ridge": ("linear", 0.1),
    "stiff linear ridge": ("linear", 10.0),
    "RBF ridge": ("rbf", 0.3),
}
"""Kernel and penalty of the probes. Kernel ridge is used because one solution serves all permutations at once: the
features' part of the equations does not change when the sites are exchanged."""


@dataclass(frozen=True)
class Null:
    """Balanced accuracy of the strongest ridge probe, for the true sites and for exchanged ones."""

    observed: float
    permuted: Float[ndarray, " K"]

    @property
    def p(self) -> float:
        """One-sided p value: how often exchanged sites are told as well as the true ones."""
        return float((1 + np.sum(self.permuted >= self.observed)) / (1 + len(self.permuted)))

    @property
    def p_below(self) -> float:
        """One-sided p value of being told worse: below what no information gives, so there is some, turned round."""
        return float((1 + np.sum(self.permuted <= self.observed)) / (1 + len(self.permuted)))

    def figures(self) -> dict[str, float]:
        """As it is written to JSON; `high` is the 95th percentile of the null."""
        figures = {
            "observed": self.observed,
            "mean": float(self.permuted.mean()),
            "high": float(np.quantile(self.permuted, 0.95)),
        }
        return figures | {"p": self.p, "p_below": self.p_below, "permutations": len(self.permuted)}


def null(features: Float[ndarray, "n F"], scans: ScanSet, *, permutations: int, seed: int) -> Null:
    """Tell the true sites and exchanged ones by the same probes on the same folds.

    Under "given the label, the features know nothing of the site", true and exchanged sites are alike, so that the
    p value holds its level whatever the probes are and however few the scans.

    Args:
        features: rows as in the set.
        scans: the set; sites are exchanged among its units, within its strata.
        permutations: how often.
        seed: of folds and permutations.
    """
    rng = np.random.default_rng(seed)
    sites = np.stack([scans.site, *(_exchanged(scans, rng) for _ in range(permutations))])
    with threadpool_limits(limits=1):
        blocks = np.array_split(sites, min(len(sites), 1 + sites.size * len(scans.sites) // MOST_NUMBERS))
        accuracy = np.concatenate([_strongest(features, block, scans, seed=seed) for block in blocks])
    return Null(float(accuracy[0]), accuracy[1:])


def _exchanged(scans: ScanSet, rng: np.random.Generator) -> Int[ndarray, " n"]:
    """The sites after exchanging them among the units of each stratum."""
    _, first, unit = np.unique(scans.unit, return_index=True, return_inverse=True)
    site, stratum = scans.site[first], scans.stratum[first]
    mixed = np.lexsort((rng.random(len(site)), stratum))
    exchanged = np.empty_like(site)
    exchanged[np.argsort(stratum, kind="stable")] = site[mixed]
    return exchanged[unit]


def _strongest(
    features: Float[ndarray, "n F"], sites: Int[ndarray, "K n"], scans: ScanSet, *, seed: int
) -> Float[ndarray, " K"]:
    """The best of the ridge probes for each row of `sites`."""
    each = [_accuracy(features, sites, scans, probe, seed=seed) for probe in RIDGES.values()]
    strongest: ndarray = np.max(each, axis=0)
    return strongest


def _accuracy(
    features: Float[ndarray, "n F"], sites: Int[ndarray, "K n"], scans: ScanSet, probe: tuple[str, float], *, seed: int
) -> Float[ndarray, " K"]:
    """Balanced accuracy of one ridge probe for each row of `sites`; every site weighs the same in its decision."""
    names = np.arange(len(scans.sites))
    member = (sites[:, :, None] == names).astype(float)  # K n S
    told = np.zeros(sites.shape, dtype=bool)
    for fit, test in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(features, groups=scans.group):
        share = member[:, fit].mean(axis=1, keepdims=True)
        score = _score(features, member[:, fit] - share, fit, test, probe)
        told[:, test] = np.argmax(score / np.maximum(share, 1e-9), axis=2) == sites[:, test]
    told_of_each = [np.sum(told & (sites == name), axis=1) / np.sum(sites == name, axis=1) for name in names]
    accuracy: ndarray = np.mean(told_of_each, axis=0)
    return accuracy


def _score(
    features: Float[ndarray, "n F"],
    member: Float[ndarray, "K m S"],
    fit: Int[ndarray, " m"],
    test: Int[ndarray, " t"],
    probe: tuple[str, float],
) -> Float[ndarray, "K t S"]:
    """How much more each test scan looks like a site than any scan does, for every permutation in one solution."""
    kernel, penalty = probe
    mean, sd = features[fit].mean(axis=0), np.maximum(features[fit].std(axis=0), 1e-9)
    standard = (features - mean) / sd / np.sqrt(features.shape[1])
    outputs = member.transpose(1, 0, 2).reshape(len(fit), -1)
    ridge = KernelRidge(alpha=penalty, kernel=kernel, gamma=0.5).fit(standard[fit], outputs)
    score: ndarray = ridge.predict(standard[test]).reshape(len(test), len(member), -1).transpose(1, 0, 2)
    return score
