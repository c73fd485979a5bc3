"""How well the scanner is told on validation scans while training: what a checkpoint is chosen by, never the test split.

Dimensions: `n` scans, `F` features.
"""

from functools import partial

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distunlearn.evaluate.sets import ScanSet
from distunlearn.metrics import balanced_accuracy
from distunlearn.probing.classifiers import QUICK
from distunlearn.probing.folds import out_of_fold

MORE_IS_BETTER = "val/dice"
"""How those figures of validation begin that rise as the task is learned."""
FOLDINGS = 3
"""Ways to divide the people into folds, over which the figure is averaged: one alone is a matter of luck."""


def as_error(name: str, value: float) -> float:
    """A figure of validation as an error: a Dice score counts from one downwards."""
    return 1 - value if name.startswith(MORE_IS_BETTER) else value


def scanner_accuracy(features: Float[ndarray, "n F"], scans: ScanSet) -> float:
    """Balanced accuracy of the strongest quick probe, each scan told by probes fitted on other people.

    Args:
        features: of the scans of the set, in its order.
        scans: matched validation scans, see `sets.validation_set`.
    """
    if not np.isfinite(features).all():
        return 1.0  # a diverged epoch is the worst
    fold = partial(out_of_fold, features, scans.site, scans.group, probes=QUICK)
    strongest = [
        max(balanced_accuracy(hits, scans.site) for hits in fold(seed=seed).values()) for seed in range(FOLDINGS)
    ]
    return float(np.mean(strongest))
