"""Who is in X_p (the task) and who is in X_u (the unlearning): rules over the labels of a study, given as configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from pydantic import Field, model_validator

from distunlearn.errors import UserError
from distunlearn.shard_format import Split
from distunlearn.streaming.condition import Condition, holds
from distunlearn.streaming.manifest import Study
from distunlearn.strict import Strict

SMALL = 20
"""Fewer scans of a site than this earn a warning: unlearning on 9 to 19 scans only learnt those by heart."""


class Selection(Strict):
    """Which scans play one role of training."""

    rule: Literal["all", "overlap", "matched", "where"] = "all"
    """all; overlap: scans whose label lies where all sites' labels lie; where: only what the conditions below say."""
    sites: tuple[str, ...] | None = None
    """Only these sites; the others are held out of this role entirely."""
    label: str = "age"
    """The label of `overlap`."""
    bounds: tuple[float, float] | None = None
    """The overlap, both ends included; computed when not given."""
    where: dict[str, Condition] = Field(default_factory=dict)
    """Conditions on labels at every site: {diagnosis: control}, {age: "<65"}, {age: 60..70}, {sex: [F, M]}."""
    where_site: dict[str, dict[str, Condition]] = Field(default_factory=dict)
    """Further conditions at single sites: {biobank: {age: "<65"}, oasis: {age: ">60"}}."""
    among: Literal["main", "study"] = "main"
    """X_u only: chosen among the scans of X_p (main), or among all training scans of the study, labelled or not."""

    @model_validator(mode="after")
    def _conditions_are_given(self) -> "Selection":
        if self.rule == "where" and not (self.where or self.where_site):
            raise ValueError("rule 'where' needs a condition in where or where_site")
        if self.bounds and self.bounds[0] > self.bounds[1]:
            raise ValueError(f"bounds {self.bounds} are upside down; give the lower one first")
        return self


@dataclass(frozen=True, eq=False)
class Chosen:
    """The scans of one role that this process may read, and how many of each site there are over all processes."""

    study: Study
    split: Split
    rows: Int[np.ndarray, " n"]
    """Rows of `study.table`, site after site."""
    counts: tuple[int, ...]
    """Scans a site of `study.sites`; 0 for a site that is held out."""
    description: tuple[str, ...]
    """One line a site, for people."""
    warnings: tuple[str, ...]

    @property
    def domain(self) -> Int[np.ndarray, " n"]:
        """The site index of each row."""
        every: Int[np.ndarray, " rows"] = self.study.table["domain"].to_numpy()
        return np.take(every, self.rows)

    def locate(self, site: Int[np.ndarray, " k"], within: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
        """Rows of the table for what a plan names: the `within`-th chosen scan of each `site`, all hosted here."""
        held = np.bincount(self.domain, minlength=len(self.counts))
        starts = np.cumsum(held) - held
        return np.asarray(self.rows[starts[site] + within])

    def same_scans(self, other: "Chosen") -> bool:
        """Whether the other role has exactly the same scans in the same order."""
        return self is other or (self.study is other.study and np.array_equal(self.rows, other.rows))


def select(
    study: Study, selection: Selection, *, split: Split, needs: Sequence[str] = (), within: Chosen | None = None
) -> Chosen:
    """Choose the scans of a role.

    Args:
        study: what there is.
        selection: the rule.
        split: where the scans come from; the loader trains on nothing but "train".
        needs: labels that a scan must have (the target in X_p); scans without are left out and counted.
        within: X_p when X_u is chosen; with `among: main` only its scans are looked at.

    Raises:
        UserError: a site or label is unknown, a site has no scan left, or the sites do not overlap.
    """
    wanted = _wanted_sites(study, selection)
    keep = _candidates(study, selection, split, within)
    labels = {*needs, *([selection.label] if selection.rule == "overlap" else [])}
    have = np.logical_and.reduce([keep, *(_label(study, name).notna().to_numpy() for name in sorted(labels))])
    unlabelled = _count(study, keep & ~have)
    bounds = None
    if selection.rule == "overlap":
        bounds = selection.bounds or _overlap(study, have, selection.label, wanted)
        values = _numbers(study, selection.label)
        have &= (values >= bounds[0]) & (values <= bounds[1])
    counts = _count(study, have)
    _refuse_empty(study, selection, split, wanted, counts)
    rows = np.flatnonzero(have)
    rows = rows[np.argsort(study.table["domain"].to_numpy()[rows], kind="stable")]
    told = _describe(study, selection, wanted, counts, bounds, unlabelled)
    return Chosen(study=study, split=split, rows=rows, counts=counts, description=told[0], warnings=told[1])


def _wanted_sites(study: Study, selection: Selection) -> tuple[str, ...]:
    named = (*(selection.sites or ()), *selection.where_site)
    if unknown := [name for name in named if name not in study.sites]:
        raise UserError(f"selection: {', '.join(unknown)} is no site of this study (known: {', '.join(study.sites)})")
    return tuple(name for name in study.sites if selection.sites is None or name in selection.sites)


def _label(study: Study, name: str) -> pd.Series:
    if name not in study.labels:
        raise UserError(f"selection: no scan has the label {name!r} (known: {', '.join(study.labels)})")
    return study.table[name]


def _numbers(study: Study, name: str) -> np.ndarray:
    labels = _label(study, name)
    if labels.dtype != np.float64:
        raise UserError(
            f"selection: label {name!r} holds text, and an overlap needs numbers; choose with where instead"
        )
    return labels.to_numpy()


def _candidates(study: Study, selection: Selection, split: Split, within: Chosen | None) -> Bool[np.ndarray, " rows"]:
    table = study.table
    keep = ((table["split"] == split) & table["site"].isin(_wanted_sites(study, selection))).to_numpy(copy=True)
    if within is not None and selection.among == "main":
        keep &= np.isin(np.arange(len(table)), within.rows)
    for label, condition in selection.where.items():
        keep &= holds(_label(study, label), condition)
    for site, conditions in selection.where_site.items():
        elsewhere = (table["site"] != site).to_numpy()
        for label, condition in conditions.items():
            keep &= elsewhere | holds(_label(study, label), condition)
    return keep


def _count(study: Study, keep: Bool[np.ndarray, " rows"]) -> tuple[int, ...]:
    return tuple(int(n) for n in np.bincount(study.table["domain"].to_numpy()[keep], minlength=len(study.sites)))


def _overlap(study: Study, keep: Bool[np.ndarray, " rows"], label: str, wanted: tuple[str, ...]) -> tuple[float, float]:
    values = pd.Series(_numbers(study, label)[keep]).groupby(study.table["site"].to_numpy()[keep])
    low, high = float(values.min().max()), float(values.max().min())
    missing = [site for site in wanted if site not in values.groups]
    if missing or low > high:
        ranges = "; ".join(
            f"{site} {values.min().get(site, np.nan):g} to {values.max().get(site, np.nan):g}" for site in wanted
        )
        raise UserError(
            f"selection: the sites do not overlap in {label} ({ranges}); give bounds, leave a site out, or unlearn on another data set"
        )
    return low, high


def _refuse_empty(
    study: Study, selection: Selection, split: Split, wanted: tuple[str, ...], counts: tuple[int, ...]
) -> None:
    empty = [site for site, count in zip(study.sites, counts, strict=True) if site in wanted and not count]
    if empty:
        raise UserError(
            f"selection: no scan of site {', '.join(empty)} in split {split} is left by rule {selection.rule!r}; loosen the rule or leave the site out with sites: […]"
        )


def _describe(
    study: Study, selection: Selection, wanted: tuple[str, ...], counts: tuple[int, ...],
    bounds: tuple[float, float] | None, unlabelled: tuple[int, ...],
) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    span = f", {selection.label} {bounds[0]:g} to {bounds[1]:g}" if bounds else ""
    lines, warnings = [], []
    for site, count, lost in zip(study.sites, counts, unlabelled, strict=True):
        if site not in wanted:
            lines.append(f"{site}: held out")
            continue
        lines.append(f"{site}: {count} scans{span}" + (f", {lost} without a label left out" if lost else ""))
        if count < SMALL:
            warnings.append(f"{site}: only {count} scans; with fewer than {SMALL}, what is learnt from them is them")
    return tuple(lines), tuple(warnings)
