"""What scanners make of one person: travelling subjects, the truth that no statistic of groups can replace."""

from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distunlearn.evaluate.sets import ScanSet
from distunlearn.evaluate.stage import Stage
from distunlearn.metrics import Interval, agreement, bootstrap_mean


def travelling_figures(stage: Stage, scans: ScanSet) -> dict[str, Any]:
    """Disagreement of predictions and distance of features between scanners of the same person.

    Each pair of sites holds `disagreement`, the mean absolute difference of a person's two predictions, and
    `offset`, the mean signed one (second site minus first), with intervals from resampling people. `feature_distance` is the distance between
    a person's features on two scanners over that between two people on one scanner, features standardised: 0 where
    the scanner does not matter, 1 where another scanner is like another person. `agreement` is ICC(2,1).
    """
    predictions = _person_by_site(stage.table["prediction"].to_numpy(float)[scans.rows][:, None], scans)[..., 0]
    features = stage.features[scans.rows]
    standard = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    return {
        "people": len(predictions),
        "pairs": {
            f"{scans.sites[a]}–{scans.sites[b]}": _pair(predictions[:, b] - predictions[:, a])
            for a, b in combinations(range(len(scans.sites)), 2)
        },
        "agreement": agreement(predictions),
        "feature_distance": _feature_distance(_person_by_site(standard, scans)),
    }


def _person_by_site(values: Float[ndarray, "n F"], scans: ScanSet) -> Float[ndarray, "P S F"]:
    """The mean of each person's scans at each site."""
    shape = (int(scans.group.max()) + 1, len(scans.sites), values.shape[1])
    total, count = np.zeros(shape), np.zeros((*shape[:2], 1))
    np.add.at(total, (scans.group, scans.site), values)
    np.add.at(count, (scans.group, scans.site), 1)
    return total / count


def _pair(difference: Float[ndarray, " P"]) -> dict[str, dict[str, float]]:
    people = np.arange(len(difference))
    return {
        "disagreement": as_dict(bootstrap_mean(np.abs(difference), people)),
        "offset": as_dict(bootstrap_mean(difference, people)),
    }


def as_dict(interval: Interval) -> dict[str, float]:
    """An interval as it is written to JSON."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _feature_distance(features: Float[ndarray, "P S F"]) -> float | None:
    """Mean distance of a person's two scanners over the mean distance of two people on one scanner."""
    sites = range(features.shape[1])
    one_person = np.mean([np.linalg.norm(features[:, a] - features[:, b], axis=1) for a, b in combinations(sites, 2)])
    shifted = [np.roll(features, step, axis=0) for step in range(1, len(features))]
    two_people = np.mean([np.linalg.norm(features - other, axis=2) for other in shifted])
    return float(one_person / two_people) if two_people > 0 else None
