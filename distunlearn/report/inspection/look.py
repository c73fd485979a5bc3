"""The figures of an inspection: how many scans, of whom, how the sites overlap, and what each rule of X_u would select."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from distunlearn.errors import UserError
from distunlearn.report.inspection.content import Content, Outlier, read_content
from distunlearn.shard_format import MANIFEST, SPLITS, Counts, Manifest
from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.select import SMALL, select
from distunlearn.streaming.selection import Selection

TRAVELLER = "traveller"
"""A label that is a name, of which there is nothing to count."""
RULES = ("all", "overlap", "matched")
"""Rules of X_u that need nothing but a label."""


@dataclass(frozen=True)
class SiteFacts:
    """One site."""

    site: str
    counts: Counts
    subjects: int
    sessions: int
    """Most sessions that a subject has."""
    splits: dict[str, int]
    values: np.ndarray
    """The label that sites are compared by, of every scan that has it, without travellers."""
    missing: int
    """Scans without it."""
    others: dict[str, str]
    """The further labels in a few words."""


@dataclass(frozen=True)
class Unlearning:
    """What a rule would select as X_u."""

    rule: str
    scans: dict[str, int]
    """By site; empty when the rule cannot be used."""
    said: str
    """The range that it found, or why it cannot be used."""


@dataclass(frozen=True)
class Inspection:
    """What is in a folder of shards."""

    root: Path
    kind: str
    shape: tuple[int, ...]
    preprocessing: dict[str, object]
    label: str
    sites: tuple[SiteFacts, ...]
    unlearning: tuple[Unlearning, ...]
    outliers: tuple[Outlier, ...]
    warnings: tuple[str, ...]
    content: Content

    @property
    def unusable(self) -> list[str]:
        """Why rules cannot be used: each reason once, behind the rules that it bars."""
        reasons: dict[str, list[str]] = defaultdict(list)
        for row in self.unlearning:
            if not row.scans:
                reasons[row.said].append(row.rule)
        return [f"{' and '.join(rules)} cannot be used: {said}" for said, rules in reasons.items()]


def look(root: Path, *, label: str = "age", most: int = 500) -> Inspection:
    """Inspect what `distunlearn shard` wrote.

    Args:
        root: the folder of sites.
        label: the label by which sites are compared.
        most: scans a site whose voxels are read, spread evenly; outliers are sought among those.

    Raises:
        UserError: the folder cannot be trained on, and why.
    """
    study = read_study(root)
    manifests = {site: _manifest(root / site) for site in study.sites}
    sites = tuple(_facts(study.table[study.table["site"] == site], manifests[site], label) for site in study.sites)
    content = read_content(root, study.table, manifests, most=most)
    unlearning = tuple(_select(study, rule, label) for rule in RULES) if len(sites) > 1 else ()
    return Inspection(
        root=root, kind=study.kind, shape=study.shape, preprocessing=study.preprocessing, label=label, sites=sites,
        unlearning=unlearning, outliers=tuple(content.outliers), content=content,
        warnings=(*_warnings(sites, label), *_doubles(study.table), *_apart(sites, unlearning, label)),
    )  # fmt: skip


def _manifest(folder: Path) -> Manifest:
    return Manifest.read(json.loads((folder / MANIFEST).read_text()), f"site {folder.name}")


def _facts(table: pd.DataFrame, manifest: Manifest, label: str) -> SiteFacts:
    splits = Counter(table["split"])
    at_home = table[table["split"] != "travelling"]  # who travels is of no site
    values = pd.to_numeric(at_home[label], errors="coerce") if label in table else pd.Series(np.nan, at_home.index)
    others = [name for name in manifest.labels if name not in {label, TRAVELLER}]
    return SiteFacts(
        site=manifest.site,
        counts=manifest.counts,
        subjects=table["subject"].nunique(),
        sessions=int(table.groupby("subject")["session"].nunique().max()),
        splits={split: splits[split] for split in SPLITS},
        values=values.dropna().to_numpy(dtype=float),
        missing=int(values.isna().sum()),
        others={name: _in_a_few_words(table[name]) for name in others},
    )


def _in_a_few_words(cells: pd.Series) -> str:
    known = cells.dropna()
    missing = f", {len(cells) - len(known)} n/a" if len(known) < len(cells) else ""
    if known.empty:
        return "n/a"
    if pd.api.types.is_numeric_dtype(known) and known.nunique() > 5:
        return f"{known.min():g} to {known.max():g}{missing}"
    counts = Counter(map(str, known))
    short = len(counts) < 6 and max(map(len, counts)) < 15
    told = ", ".join(f"{value} {n}" for value, n in sorted(counts.items())) if short else f"{len(counts)} values"
    return told + missing


def _select(study: Study, rule: str, label: str) -> Unlearning:
    try:
        chosen = select(study, Selection.read({"rule": rule, "label": label}, "inspect"), split="train")
    except UserError as error:
        return Unlearning(rule, {}, str(error).removeprefix("selection: "))
    values = study.table[label].iloc[chosen.rows] if label in study.labels else pd.Series(dtype=float)
    numbers = pd.to_numeric(values, errors="coerce").dropna()
    span = f"{label} {numbers.min():g} to {numbers.max():g}" if len(numbers) else f"no {label}"
    return Unlearning(rule, dict(zip(study.sites, chosen.counts, strict=True)), span)


def _warnings(sites: tuple[SiteFacts, ...], label: str) -> list[str]:
    few = [f"{facts.site} {facts.splits['train']}" for facts in sites if facts.splits["train"] < SMALL]
    unlabelled = [f"{facts.site} {facts.missing}" for facts in sites if facts.missing]
    lines = {
        f"fewer than {SMALL} scans to train on, of which the people are learnt and not the site": few,
        f"scans without {label}, which can be unlearned but not learnt from": unlabelled,
    }
    for split in ("train", "val", "test"):
        empty = [facts.site for facts in sites if not facts.splits[split]]
        lines[f"nobody in {split} (draw again with --split-salt, or give a --split-file)"] = empty
    return [f"{said}: {', '.join(names)}" for said, names in lines.items() if names]


def _doubles(table: pd.DataFrame) -> list[str]:
    people = table.assign(who=table["site"] + table["subject"]).groupby("xxh3")["who"].nunique()
    same = int((people > 1).sum())
    return [f"scans that are number by number the same under more than one person's name: {same}"] if same else []


def _apart(sites: tuple[SiteFacts, ...], unlearning: tuple[Unlearning, ...], label: str) -> list[str]:
    """Which sites to leave out so that the others overlap: those without the value that most sites have."""
    if all(row.scans for row in unlearning):
        return []
    ranges = {site.site: (site.values.min(), site.values.max()) for site in sites if len(site.values)}
    if len(ranges) < 2:
        return []
    common = max(
        (low for low, _ in ranges.values()), key=lambda value: sum(a <= value <= b for a, b in ranges.values())
    )
    within = {site: span for site, span in ranges.items() if span[0] <= common <= span[1]}
    apart = [site for site in ranges if site not in within]
    low, high = max(span[0] for span in within.values()), min(span[1] for span in within.values())
    if not apart or len(within) < 2:
        return []
    return [f"the sites do not overlap in {label}; without {', '.join(apart)} the others do, from {low:g} to {high:g}"]
