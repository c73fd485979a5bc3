"""`distunlearn shard --dry-run`: what would be kept and dropped and why, from tables and headers only."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import obliquity

from distunlearn.prepare.assign import check_sites
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import Dropped, Refusal
from distunlearn.prepare.sources import find
from distunlearn.prepare.sources.scans import Found, Scan
from distunlearn.prepare.splits import Splits, split_people
from distunlearn.prepare.voxels.nifti import check_nifti
from distunlearn.progress import progress
from distunlearn.shard_format import MISSING, SPLITS

OBLIQUE = 30
"""Degrees off the axes that are worth a note."""


@dataclass(frozen=True)
class SitePreview:
    """What a site would give."""

    site: str
    kept: int
    refused: int
    subjects: int
    splits: dict[str, int]
    """Scans a split."""
    labels: dict[str, str]
    """Each label in a few words: its range or its commonest values, and how many are missing."""


@dataclass(frozen=True)
class Preview:
    """What `shard` would do."""

    sites: tuple[SitePreview, ...]
    dropped: tuple[Dropped, ...]
    left_out: int
    notes: tuple[str, ...]

    @property
    def found(self) -> dict[str, int]:
        """Scans found, by site."""
        return {site.site: site.kept + site.refused for site in self.sites}

    @property
    def subjects(self) -> dict[str, int]:
        """People with a scan that would be kept, by site."""
        return {site.site: site.subjects for site in self.sites}


def preview(sources: Sequence[Path], config: PrepareConfig, *, split_file: Path | None = None) -> Preview:
    """Find every scan, check every header, and write nothing.

    Raises:
        UserError: a source is unusable.
    """
    found = find(sources, config)
    check_sites(found.scans)
    splits = split_people(found, config, split_file)
    kept = check_headers(found, config)
    sites = sorted({scan.site for scan in found.scans} | {drop.site for drop in found.dropped})
    previews = tuple(_preview(site, [scan for scan in kept if scan.site == site], found, splits) for site in sites)
    return Preview(previews, tuple(found.dropped), found.left_out, tuple(found.notes))


def check_headers(found: Found, config: PrepareConfig) -> list[Scan]:
    """The scans whose headers pass; the others are added to those that are dropped."""
    kept = []
    oblique: Counter[str] = Counter()
    with progress("check headers", len(found.scans), "scans") as advance:
        for scan in found.scans:
            try:
                oblique[scan.site] += _degrees_off(scan, config) > OBLIQUE
                kept.append(scan)
            except Refusal as refusal:
                found.refuse(scan.site, refusal, scan.place, str(scan.path))
            advance()
    found.notes += [f"{site}: {n} scans lie more than {OBLIQUE}° off the axes; they are turned by quarter turns only"
                    for site, n in oblique.items() if n]  # fmt: skip
    return kept


def _degrees_off(scan: Scan, config: PrepareConfig) -> float:
    """How far a scan whose headers pass is turned away from the axes of the body."""
    headers = [
        check_nifti(path, orientation_from=config.orientation_from) for path in (scan.path, scan.segmentation) if path
    ]
    return float(np.degrees(obliquity(headers[0].affine).max())) if headers else 0.0


def _preview(site: str, kept: list[Scan], found: Found, splits: Splits) -> SitePreview:
    counts = Counter(splits[site, scan.subject] for scan in kept)
    names = kept[0].labels if kept else {}
    return SitePreview(
        site=site or "?",
        kept=len(kept),
        refused=sum(drop.site == site for drop in found.dropped),
        subjects=len({scan.subject for scan in kept}),
        splits={split: counts[split] for split in SPLITS},
        labels={name: in_a_few_words([scan.labels[name] for scan in kept]) for name in names},
    )


def in_a_few_words(cells: list[str]) -> str:
    """A label over many scans: `18–90`, `F 20, M 15`, `12 values`, and how many are missing."""
    known = [cell for cell in cells if cell != MISSING]
    missing = f", {len(cells) - len(known)} {MISSING}" if len(known) < len(cells) else ""
    try:
        numbers = [float(cell) for cell in known]
        told = f"{min(numbers):g}–{max(numbers):g}" if numbers else "none"
    except ValueError:
        counts = Counter(known)
        told = (
            ", ".join(f"{cell} {n}" for cell, n in sorted(counts.items()))
            if len(counts) < 6
            else f"{len(counts)} values"
        )
    return told + missing
