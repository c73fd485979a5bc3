"""Where the labels of all sites overlap, and how that range is divided so that sites can be matched in it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from distunlearn.errors import UserError
from distunlearn.streaming.manifest import Study

Bounds = tuple[float, float]


def overlap(study: Study, keep: Bool[np.ndarray, " rows"], label: str, sites: Sequence[str]) -> Bounds:
    """From the highest of the sites' lowest labels to the lowest of their highest, both included.

    Raises:
        UserError: there is no such range, or it cannot be known because other ranks hold some of the sites.
    """
    if len(study.hosted) < len(study.sites):
        raise UserError(
            f"selection: give bounds for {label}: in federated placement no site tells its lowest and highest {label} to another"
        )
    values = pd.Series(numbers(study, label)[keep]).groupby(study.table["site"].to_numpy()[keep])
    ends = pd.DataFrame({"low": values.min(), "high": values.max()}).reindex(list(sites))
    low, high = float(ends["low"].max()), float(ends["high"].min())
    if ends.isna().any(axis=None) or low > high:
        ranges = "; ".join(f"{site} {low:g} to {high:g}" for site, low, high in ends.itertuples())
        raise UserError(
            f"selection: the sites do not overlap in {label} ({ranges}); give bounds, leave a site out, or unlearn on another data set"
        )
    return low, high


def numbers(study: Study, label: str) -> Float[np.ndarray, " rows"]:
    """A label that must be a number.

    Raises:
        UserError: it holds text.
    """
    values = study.label(label)
    if values.dtype != np.float64:
        raise UserError(
            f"selection: label {label!r} holds text, and an overlap needs numbers; choose with where instead"
        )
    return values.to_numpy(dtype=np.float64)


def by_width(values: Float[np.ndarray, " rows"], bounds: Bounds, width: float) -> tuple[Int[np.ndarray, " rows"], int]:
    """The stratum of each value, equal steps of `width` from the lower bound on, -1 out of bounds or missing; and how many there are."""
    last = max(int(np.ceil((bounds[1] - bounds[0]) / width)) - 1, 0)
    inside = (values >= bounds[0]) & (values <= bounds[1])
    place = np.minimum((np.where(inside, values, bounds[0]) - bounds[0]) // width, last)
    return np.where(inside, place, -1).astype(np.int64), last + 1


def by_value(study: Study, label: str) -> tuple[Int[np.ndarray, " rows"], int]:
    """The stratum of each value of a text label, its place among all values, sorted, -1 where missing; and how many there are.

    Raises:
        UserError: other ranks hold some of the sites, and with them perhaps other values.
    """
    if len(study.hosted) < len(study.sites):
        raise UserError(
            f"selection: label {label!r} holds text, which cannot be matched in federated placement; write it as numbers"
        )
    codes, values = pd.factorize(study.table[label], sort=True)
    return codes.astype(np.int64), len(values)
