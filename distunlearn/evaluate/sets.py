"""On whom a probe is tried: natural, label-matched and travelling-subject scans, all of them held out of training."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from distunlearn.evaluate.stage import PERSON, Stage

FEWEST_PEOPLE = 12
"""Of a site; with fewer, no probe is fitted: a fold would hold two of them."""
WANTED_SCANS = 40
"""Of a site; where the test split holds fewer at some site, the validation split is added, and that is said."""
MATCHED_WITHIN = 1.0
"""Years (units of the label) by which matched people of two sites may differ."""
STRATUM = 2.0
"""Width in years of the strata of the label within which site labels are exchanged for the null."""


@dataclass(frozen=True)
class ScanSet:
    """Scans that a probe is tried on; everything counts from 0 without gaps.

    `group` is kept together by the folds and by the bootstrap: a person; or, where people of the sites were matched,
    the matched people, because a probe that was fitted on a scan's partners would be led to call it anything but its
    own site. For the null, sites are exchanged among the `unit`s of a `stratum`: people of about the same label, the
    matched people, the scans of one traveller.
    """

    name: str
    how: str
    rows: Int[ndarray, " n"]
    """Of the stage's table."""
    site: Int[ndarray, " n"]
    group: Int[ndarray, " n"]
    label: Float[ndarray, " n"]
    unit: Int[ndarray, " n"]
    stratum: Int[ndarray, " n"]
    sites: tuple[str, ...]


@dataclass(frozen=True)
class TooFew:
    """Why a probe says nothing on a set."""

    name: str
    why: str


def held_out_splits(stage: Stage) -> tuple[str, ...]:
    """`test`, and `val` too where `test` alone is small: neither was trained on, but `val` may have chosen the epoch."""
    counts = stage.table.loc[stage.table["split"] == "test", "site"].value_counts()
    enough = all(counts.get(site, 0) >= WANTED_SCANS for site in stage.sites)
    return ("test",) if enough else ("test", "val")


def scan_sets(stage: Stage, *, seed: int, most: int) -> list[ScanSet | TooFew]:
    """The three sets of a stage; a pure function of its table and the seed, so that stages of a run share them.

    Args:
        stage: whose scans.
        seed: of the choice of scans where there are more than `most`.
        most: scans of one site in the natural set at most, to bound the work.
    """
    splits = held_out_splits(stage)
    held_out = np.flatnonzero(
        stage.table["split"].isin(splits) & stage.table["site"].isin(stage.sites) & stage.table["target"].notna()
    )
    fewer = _thin(stage, held_out, np.random.default_rng(seed), most)
    where = f"held-out scans ({' and '.join(splits)})"
    return [_natural(stage, where, fewer), _matched(stage, where, held_out), _travelling(stage)]


def _thin(stage: Stage, rows: Int[ndarray, " n"], rng: np.random.Generator, most: int) -> Int[ndarray, " m"]:
    site = stage.table["site"].to_numpy()[rows]
    return np.sort(np.concatenate([rng.permutation(rows[site == name])[:most] for name in stage.sites]))


def _natural(stage: Stage, where: str, rows: Int[ndarray, " n"]) -> ScanSet | TooFew:
    person = _numbered(stage.table[PERSON].to_numpy()[rows])
    label = stage.table["target"].to_numpy(float)[rows]
    mean = np.bincount(person, weights=label) / np.bincount(person)
    stratum = np.floor(mean / STRATUM).astype(np.int64)[person]
    return _scan_set(stage, "natural", where, rows=rows, group=person, unit=person, stratum=stratum)


def _matched(stage: Stage, where: str, rows: Int[ndarray, " n"]) -> ScanSet | TooFew:
    """Triplets (pairs, …) of people of one label: everybody of the smallest site with their nearest at the others.

    One scan a person. Each site is assigned so that the summed difference of labels is least; a triplet of which one
    member differs by more than `MATCHED_WITHIN` from the smallest site's is left out.
    """
    people = stage.table[PERSON].to_numpy()[rows]
    rows = np.sort(rows[np.unique(people, return_index=True)[1]])
    site, label = stage.table["site"].to_numpy()[rows], stage.table["target"].to_numpy(float)[rows]
    smallest = min(stage.sites, key=lambda name: int((site == name).sum()))
    matched = [_nearest(rows[site == name], label[site == name], label[site == smallest]) for name in stage.sites]
    whole = np.all([partner >= 0 for partner in matched], axis=0)
    chosen = np.concatenate([partner[whole] for partner in matched])
    triplet = np.tile(np.arange(whole.sum()), len(matched))
    how = f"{where}, people of the sites matched on the label within {MATCHED_WITHIN:g} year, one scan each"
    return _scan_set(stage, "matched", how, rows=chosen, group=triplet, unit=np.arange(len(chosen)), stratum=triplet)


def _nearest(rows: Int[ndarray, " m"], label: Float[ndarray, " m"], wanted: Float[ndarray, " a"]) -> Int[ndarray, " a"]:
    """For each wanted label another row with nearly that label, -1 where there is none left."""
    away = np.abs(wanted[:, None] - label)
    first, second = linear_sum_assignment(np.where(away <= MATCHED_WITHIN, away, 1e6))
    near = away[first, second] <= MATCHED_WITHIN
    partner = np.full(len(wanted), -1)
    partner[first[near]] = rows[second[near]]
    return partner


def _travelling(stage: Stage) -> ScanSet | TooFew:
    here = stage.table["split"].eq("travelling") & stage.table["site"].isin(stage.sites)
    visited = stage.table["site"].where(here).groupby(stage.table[PERSON]).transform("nunique")
    rows = np.flatnonzero(here & visited.eq(len(stage.sites)))
    person = _numbered(stage.table[PERSON].to_numpy()[rows])
    how = "people who were scanned at every site and never trained on"
    return _scan_set(stage, "travelling", how, rows=rows, group=person, unit=np.arange(len(rows)), stratum=person)


def _numbered(names: Shaped[ndarray, " n"]) -> Int[ndarray, " n"]:
    return np.unique(names.astype(str), return_inverse=True)[1]


def _scan_set(stage: Stage, name: str, how: str, **members: Int[ndarray, " n"]) -> ScanSet | TooFew:
    rows = members["rows"]
    names = stage.table["site"].to_numpy()[rows].astype(str)
    counts = {site: len(np.unique(members["group"][names == site])) for site in stage.sites}
    if len(counts) < 2:
        return TooFew(name, "trained on one site: there is no scanner to tell")
    if min(counts.values()) < FEWEST_PEOPLE:
        found = ", ".join(f"{site} {count}" for site, count in counts.items())
        return TooFew(name, f"too few people ({found}; {FEWEST_PEOPLE} a site are needed): {how}")
    site = np.searchsorted(np.array(stage.sites), names)
    return ScanSet(
        name, how, site=site, label=stage.table["target"].to_numpy(float)[rows], sites=stage.sites, **members
    )
