"""What probes say of scans that they were not fitted on: nested folds, people kept together."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from distunlearn.probing.classifiers import Probe, pipeline

OUTER, INNER = 5, 3

Hits = dict[str, Bool[ndarray, " n"]]
"""Whether each probe told each scan's site, by the name of the probe."""


def out_of_fold(
    features: Float[ndarray, "n F"],
    site: Int[ndarray, " n"],
    group: Int[ndarray, " n"],
    *,
    probes: Mapping[str, Probe],
    seed: int,
) -> Hits:
    """Whether each probe tells the site of each scan when it was fitted on other people.

    Outer folds: every scan is told once, by a probe fitted on the other folds. Inner folds, within those: choose the
    probe's settings by balanced accuracy.

    Args:
        features: what the probe sees of each scan.
        site: index of each scan's site.
        group: scans of one group, such as a person's, are always in one fold.
        probes: which classifiers.
        seed: of the folds.
    """
    told = {name: np.zeros(len(site), dtype=bool) for name in probes}
    with _calm():
        for fit, test in StratifiedGroupKFold(OUTER, shuffle=True, random_state=seed).split(features, site, group):
            for name, probe in probes.items():
                fitted = _fit(probe, features[fit], site[fit], group[fit], seed=seed)
                told[name][test] = fitted.predict(features[test]) == site[test]
    return told


def fitted_on(
    training: tuple[Float[ndarray, "m F"], Int[ndarray, " m"]],
    features: Float[ndarray, "n F"],
    site: Int[ndarray, " n"],
    *,
    probes: Mapping[str, Probe],
) -> Hits:
    """Whether each probe tells the site of each scan when it was fitted on other scans altogether, without a choice of settings.

    Args:
        training: features and sites of what the probes are fitted on.
        features: what the probe sees of each scan.
        site: index of each scan's site.
        probes: which classifiers.
    """
    known, names = training
    with _calm():
        fitted = {name: pipeline(probe, len(np.unique(names))).fit(known, names) for name, probe in probes.items()}
        return {name: each.predict(features) == site for name, each in fitted.items()}


@contextmanager
def _calm() -> Iterator[None]:
    # One thread: with more, scikit-learn's gradient boosting stalls when the machine is busy.
    with (
        threadpool_limits(limits=1),
        config_context(assume_finite=True, skip_parameter_validation=True),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that has not converged is a weaker one of several
        yield


def _fit(
    probe: Probe, features: Float[ndarray, "n F"], site: Int[ndarray, " n"], group: Int[ndarray, " n"], *, seed: int
) -> Any:
    untrained = pipeline(probe, len(np.unique(site)))
    if not probe.grid:
        return untrained.fit(features, site)
    inner = StratifiedGroupKFold(INNER, shuffle=True, random_state=seed)
    search = GridSearchCV(untrained, dict(probe.grid), scoring="balanced_accuracy", cv=inner)
    return search.fit(features, site, groups=group)
