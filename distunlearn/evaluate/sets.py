"""On whom a probe is tried: natural, label-matched and travelling-subject scans, all of them held out of training."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from distunlearn.evaluate.matching import MATCHED_WITHIN, match, tolerance
from distunlearn.evaluate.stage import PERSON, Stage

FEWEST_PEOPLE = 10
"""Of a site; one with fewer is left out and named: a fold would hold but one or two of them."""
WANTED_SCANS = 40
"""Of a site; where the test split holds fewer at some site, the validation split is added, and that is said."""
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
    labels: Float[ndarray, "n L"]
    """Of each scan, those of `Stage.label_names`."""
    unit: Int[ndarray, " n"]
    stratum: Int[ndarray, " n"]
    sites: tuple[str, ...]
    left_out: tuple[str, ...]
    """Sites of training that are not in the set, because too few people of theirs are."""


@dataclass(frozen=True)
class TooFew:
    """Why a probe says nothing on a set."""

    name: str
    why: str


def held_out_splits(stage: Stage) -> tuple[str, ...]:
    """`test`, and `val` too where `test` alone is small: neither was trained on; but `val` must not have chosen the weights."""
    if stage.chosen:
        return ("test",)
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
    held_out = _rows_in(stage, splits)
    where = f"held-out scans ({' and '.join(splits)})"
    return [
        _natural(stage, where, held_out, seed=seed, most=most),
        _matched(stage, where, held_out),
        _travelling(stage),
    ]


def validation_set(stage: Stage) -> ScanSet | TooFew:
    """Label-matched people of the validation split: what a checkpoint may be chosen by."""
    return _matched(stage, "validation scans", _rows_in(stage, ("val",)))


def _natural(stage: Stage, where: str, rows: Int[ndarray, " n"], *, seed: int, most: int) -> ScanSet | TooFew:
    sites = _large_enough(stage, rows)
    if len(sites) < 2:
        return _too_few("natural", stage, where)
    rng = np.random.default_rng(seed)
    names = stage.table["site"].to_numpy()[rows]
    rows = np.sort(np.concatenate([rng.permutation(rows[names == site])[:most] for site in sites]))
    person = _numbered(stage.table[PERSON].to_numpy()[rows])
    labels = stage.labels[rows]
    width = np.where(tolerance(labels) > 0, STRATUM, 1.0)
    mean = np.stack([np.bincount(person, weights=label) / np.bincount(person) for label in labels.T], axis=1)
    stratum = np.unique(np.floor(mean / width), axis=0, return_inverse=True)[1]
    return _scan_set(stage, "natural", where, sites, rows=rows, group=person, unit=person, stratum=stratum[person])


def _matched(stage: Stage, where: str, rows: Int[ndarray, " n"]) -> ScanSet | TooFew:
    how = f"{where}, people of the sites matched on {' and '.join(stage.label_names)} within {MATCHED_WITHIN:g}, one scan each"
    people = stage.table[PERSON].to_numpy()[rows]
    rows = np.sort(rows[np.unique(people, return_index=True)[1]])
    sites = _large_enough(stage, rows)
    if len(sites) < 2:
        return _too_few("matched", stage, how)
    names = stage.table["site"].to_numpy()[rows]
    groups, sites = match(names, stage.labels[rows], sites, fewest=FEWEST_PEOPLE)
    if groups.shape[1] < FEWEST_PEOPLE:
        return _too_few("matched", stage, how)
    chosen = rows[groups.ravel()]
    group = np.tile(np.arange(groups.shape[1]), len(sites))
    return _scan_set(stage, "matched", how, sites, rows=chosen, group=group, unit=np.arange(len(chosen)), stratum=group)


def _travelling(stage: Stage) -> ScanSet | TooFew:
    how = "people who were scanned at every one of these sites and never trained on"
    table = stage.table
    rows = _rows_in(stage, ("travelling",))
    sites = _large_enough(stage, rows)
    here = table.iloc[rows][table["site"].iloc[rows].isin(sites).to_numpy()]
    visited = here.groupby(PERSON)["site"].nunique()
    everywhere = set(visited.index[visited == len(sites)])
    if len(sites) < 2 or len(everywhere) < FEWEST_PEOPLE:
        return _too_few("travelling", stage, how)
    rows = rows[table[PERSON].iloc[rows].isin(everywhere).to_numpy() & table["site"].iloc[rows].isin(sites).to_numpy()]
    person = _numbered(table[PERSON].to_numpy()[rows])
    return _scan_set(
        stage, "travelling", how, sites, rows=rows, group=person, unit=np.arange(len(rows)), stratum=person
    )


def _rows_in(stage: Stage, splits: tuple[str, ...]) -> Int[ndarray, " n"]:
    """Rows of these splits, of sites of training, with every label known."""
    known = np.isfinite(stage.labels).all(axis=1)
    return np.flatnonzero(stage.table["split"].isin(splits) & stage.table["site"].isin(stage.sites) & known)


def _large_enough(stage: Stage, rows: Int[ndarray, " n"]) -> tuple[str, ...]:
    people = stage.table.iloc[rows].groupby("site")[PERSON].nunique()
    return tuple(site for site in stage.sites if people.get(site, 0) >= FEWEST_PEOPLE)


def _too_few(name: str, stage: Stage, how: str) -> TooFew:
    if len(stage.sites) < 2:
        return TooFew(name, "trained on one site: there is no scanner to tell")
    return TooFew(name, f"fewer than two sites have {FEWEST_PEOPLE} people or groups of this kind: {how}")


def _numbered(names: Shaped[ndarray, " n"]) -> Int[ndarray, " n"]:
    return np.unique(names, return_inverse=True)[1]


def _scan_set(stage: Stage, name: str, how: str, sites: tuple[str, ...], **members: Int[ndarray, " n"]) -> ScanSet:
    rows = members["rows"]
    names = stage.table["site"].to_numpy()[rows].astype(str)
    left_out = tuple(site for site in stage.sites if site not in sites)
    site = np.searchsorted(np.array(sites), names)
    return ScanSet(name, how, site=site, labels=stage.labels[rows], sites=sites, left_out=left_out, **members)
