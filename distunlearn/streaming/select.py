"""Who is in X_p (the task) and who is in X_u (the unlearning): rules over the labels of a study."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from distunlearn.errors import UserError
from distunlearn.shard_format import Split
from distunlearn.streaming.chosen import Chosen, keys_digest
from distunlearn.streaming.condition import holds
from distunlearn.streaming.drawn import SEGMENTATION
from distunlearn.streaming.manifest import Study
from distunlearn.streaming.selection import Selection
from distunlearn.streaming.strata import Bounds, by_value, by_width, numbers, overlap
from distunlearn.streaming.table import NOT_DRAWN

SMALL = 20
"""Fewer scans of a site than this earn a warning: unlearning on 9 to 19 scans only learnt those by heart."""

Share = Callable[[Int[np.ndarray, "N K"]], Int[np.ndarray, "N K"]]
"""Completes counts a site over ranks, each of which knows those of the sites that it hosts; see `Placement.share`."""


def select(
    study: Study,
    selection: Selection,
    *,
    split: Split,
    needs: Sequence[str | tuple[str, ...]] = (),
    within: Chosen | None = None,
    share: Share = lambda counts: counts,
) -> Chosen:
    """Choose the scans of a role.

    Args:
        study: what there is.
        selection: the rule.
        split: where the scans come from; the loader trains on nothing but "train".
        needs: labels that a scan must have (the target in X_p), in parentheses such of which it must have one; scans
            without are left out and counted. `segmentation` stands for a drawn volume.
        within: X_p when X_u is chosen; with `among: main` only its scans are looked at.
        share: in federated placement, tells the counts of the sites that this rank does not host.

    Raises:
        UserError: a site or label is unknown, a site has no scan left, or the sites do not overlap.
    """
    wanted = _wanted_sites(study, selection)
    candidates = _candidates(study, selection, split, wanted, within)
    labels = [*needs, *([selection.label] if selection.rule in {"overlap", "matched"} else [])]
    labelled = np.logical_and.reduce([candidates, *(_has(study, need) for need in labels)])
    stratum, number, span = _strata(study, selection, labelled, wanted)
    held = share(_count(study, stratum, number))
    _refuse_empty(study, selection, split, wanted, held)
    kept = _everywhere(study, held, wanted)
    counts = tuple(held[:, kept].sum(axis=1).tolist())
    rows = _in_order(study, stratum, kept)
    share(_digests(study, rows))
    told = [_line(site, count, span, wanted) for site, count in zip(study.sites, counts, strict=True)]
    told += _left_out(study, candidates & ~labelled)
    few = [site for site, count in zip(study.sites, counts, strict=True) if site in wanted and count < SMALL]
    return Chosen(
        study=study, rows=rows, counts=counts,
        strata=tuple(map(tuple, held[:, kept].tolist())) if selection.rule == "matched" else None,
        description=tuple(told),
        warnings=tuple(f"{site}: fewer than {SMALL} scans; what is learnt from so few is them" for site in few),
    )  # fmt: skip


def _has(study: Study, need: str | tuple[str, ...]) -> Bool[np.ndarray, " rows"]:
    if need == SEGMENTATION:
        none = pd.Series(NOT_DRAWN, index=study.table.index)
        return np.asarray(study.table.get("segmentation_offset", none) != NOT_DRAWN)
    names = (need,) if isinstance(need, str) else need
    return np.asarray(np.logical_or.reduce([study.label(name).notna().to_numpy() for name in names]))


def _wanted_sites(study: Study, selection: Selection) -> tuple[str, ...]:
    named = (*(selection.sites or ()), *selection.where_site)
    if unknown := [name for name in named if name not in study.sites]:
        raise UserError(f"selection: {', '.join(unknown)} is no site of this study (known: {', '.join(study.sites)})")
    return tuple(name for name in study.sites if selection.sites is None or name in selection.sites)


def _candidates(
    study: Study, selection: Selection, split: Split, wanted: tuple[str, ...], within: Chosen | None
) -> Bool[np.ndarray, " rows"]:
    table = study.table
    keep = ((table["split"] == split) & table["site"].isin(wanted)).to_numpy(copy=True)
    if within is not None and selection.among == "main":
        keep &= np.isin(np.arange(len(table)), within.rows)
    for label, condition in selection.where.items():
        keep &= holds(study.label(label), condition)
    for site, conditions in selection.where_site.items():
        elsewhere = (table["site"] != site).to_numpy()
        for label, condition in conditions.items():
            keep &= elsewhere | holds(study.label(label), condition)
    return keep


def _strata(
    study: Study, selection: Selection, keep: Bool[np.ndarray, " rows"], wanted: tuple[str, ...]
) -> tuple[Int[np.ndarray, " rows"], int, str]:
    """The stratum of every scan that is kept, -1 for the others; how many strata there are; and the words for it."""
    if selection.rule not in {"overlap", "matched"}:
        return np.where(keep, 0, -1), 1, ""
    if selection.rule == "matched" and study.label(selection.label).dtype != np.float64:
        place, number = by_value(study, selection.label)
        return np.where(keep, place, -1), number, f", matched by {selection.label}"
    bounds: Bounds = selection.bounds or overlap(study, keep, selection.label, wanted)
    span = f", {selection.label} {bounds[0]:g} to {bounds[1]:g}"
    width, how = (
        (selection.width, f" matched in steps of {selection.width:g}") if selection.rule == "matched" else (np.inf, "")
    )
    place, number = by_width(numbers(study, selection.label), bounds, width)
    return np.where(keep, place, -1), number, span + how


def _count(study: Study, stratum: Int[np.ndarray, " rows"], number: int) -> Int[np.ndarray, "N K"]:
    counts = np.zeros((len(study.sites), number), dtype=np.int64)
    there = stratum >= 0
    np.add.at(counts, (study.table["domain"].to_numpy()[there], stratum[there]), 1)
    return counts


def _everywhere(study: Study, held: Int[np.ndarray, "N K"], wanted: tuple[str, ...]) -> Int[np.ndarray, " kept"]:
    """The strata in which every wanted site has a scan."""
    sites = [index for index, site in enumerate(study.sites) if site in wanted]
    return np.flatnonzero((held[sites] > 0).all(axis=0))


def _digests(study: Study, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, "N 1"]:
    """A number a site that two of its hosts share when they hold the same scans."""
    domain = study.table["domain"].to_numpy()[rows]
    return np.array(
        [[int(keys_digest(study, rows[domain == site]), 16) >> 1] for site in range(len(study.sites))], dtype=np.int64
    )


def _in_order(study: Study, stratum: Int[np.ndarray, " rows"], kept: Int[np.ndarray, " kept"]) -> Int[np.ndarray, " n"]:
    rows = np.flatnonzero(np.isin(stratum, kept))
    return rows[np.lexsort((stratum[rows], study.table["domain"].to_numpy()[rows]))]


def _refuse_empty(
    study: Study, selection: Selection, split: Split, wanted: tuple[str, ...], held: Int[np.ndarray, "N K"]
) -> None:
    empty = [site for site, counts in zip(study.sites, held, strict=True) if site in wanted and not counts.any()]
    if empty:
        raise UserError(
            f"selection: no scan of site {', '.join(empty)} in split {split} is left by rule {selection.rule!r}; loosen the rule or leave the site out with sites: […]"
        )
    if not len(_everywhere(study, held, wanted)):
        raise UserError(
            f"selection: no stratum of {selection.label} has scans of all sites; give a larger width or other bounds"
        )


def _line(site: str, count: int, span: str, wanted: tuple[str, ...]) -> str:
    return f"{site}: {count} scans{span}" if site in wanted else f"{site}: held out"


def _left_out(study: Study, lost: Bool[np.ndarray, " rows"]) -> list[str]:
    return [
        f"{site}: left out for want of a label: {count}"
        for site, count in study.table["site"][lost].value_counts(sort=False).items()
    ]
