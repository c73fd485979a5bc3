"""People of one label, one of each site: the scans on which the label cannot tell the scanner.

Dimensions: `n` people, `L` labels, `S` sites, `m` matched groups.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

MATCHED_WITHIN = 1.0
"""Years (units of the label) by which a group's members may differ from that of the smallest site."""
MOST_CLASSES = 10
"""A label of whole numbers with no more values than this is a class: it must be the same, not near."""


def tolerance(labels: Float[ndarray, "n L"]) -> Float[ndarray, " L"]:
    """How far matched people may be apart in each label: nothing in a class, such as a diagnosis."""
    classes = [len(np.unique(label)) <= MOST_CLASSES and bool((label % 1 == 0).all()) for label in labels.T]
    return np.where(classes, 0.0, MATCHED_WITHIN)


def match(
    site: Shaped[ndarray, " n"], labels: Float[ndarray, "n L"], sites: Sequence[str], *, fewest: int
) -> tuple[Int[ndarray, "S m"], tuple[str, ...]]:
    """Match people of as many sites as have `fewest` groups in common.

    Begins with the two sites that have most groups in common and adds the site that leaves most, as long as `fewest`
    are left: with many sites there is hardly an age that all of them share.

    Args:
        site: of each person.
        labels: of each person, such as the age.
        sites: the sites to match, at least two.
        fewest: groups that are wanted.

    Returns:
        The person of each site in each group, and the sites; fewer groups than wanted only where no two sites have them.
    """
    within = tolerance(labels)
    tried: list[tuple[str, ...]] = list(combinations(sites, 2))
    best: tuple[Int[ndarray, "S m"], tuple[str, ...]] | None = None
    while tried:
        groups, names = max(
            ((_groups(site, labels, names, within), names) for names in tried), key=lambda each: each[0].shape[1]
        )
        if best is not None and groups.shape[1] < fewest:
            break
        best = groups, names
        tried = [tuple(name for name in sites if name in {*names, more}) for more in sites if more not in names]
    assert best is not None
    return best


def _groups(
    site: Shaped[ndarray, " n"], labels: Float[ndarray, "n L"], sites: Sequence[str], within: Float[ndarray, " L"]
) -> Int[ndarray, "S m"]:
    """Everybody of the smallest site with their nearest at each other one, so that the summed difference is least."""
    smallest = min(sites, key=lambda name: int((site == name).sum()))
    wanted = labels[site == smallest]
    partners = np.stack([_nearest(labels, np.flatnonzero(site == name), wanted, within) for name in sites])
    return partners[:, (partners >= 0).all(axis=0)]


def _nearest(
    labels: Float[ndarray, "n L"],
    candidates: Int[ndarray, " c"],
    wanted: Float[ndarray, "a L"],
    within: Float[ndarray, " L"],
) -> Int[ndarray, " a"]:
    """For each wanted label another candidate with nearly that label, -1 where there is none left."""
    away = np.abs(wanted[:, None] - labels[candidates])
    allowed = (away <= within).all(axis=2)
    first, second = linear_sum_assignment(np.where(allowed, away.sum(axis=2), 1e6))
    near = allowed[first, second]
    partner = np.full(len(wanted), -1)
    partner[first[near]] = candidates[second[near]]
    return partner
