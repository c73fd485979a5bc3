"""An inspection on a terminal."""

import numpy as np
from jaxtyping import Float, Int
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from distunlearn.report.inspection.look import Inspection
from distunlearn.shard_format import SPLITS

BARS = " ▁▂▃▄▅▆▇█"
BINS = 14
MOST_LINES = 20


def in_words(found: Inspection) -> RenderableType:
    """Counts, labels, overlap, odd scans and warnings."""
    shape = "×".join(map(str, found.shape))
    what = f"volumes of {shape} voxels" if found.kind == "volume" else f"rows of {shape} features"
    parts: list[RenderableType] = [Text(f"{sum(site.counts.written for site in found.sites)} {what}"), _counts(found)]
    if found.unlearning:
        parts.append(_unlearning(found))
    refused = [f"{site.site}: {rule} {n}" for site in found.sites for rule, n in site.counts.refused.items()]
    parts += _lines("Refused when they were prepared", refused)
    odd = [f"{outlier.site}: scan {outlier.key}: {outlier.why}" for outlier in found.outliers]
    parts += _lines("Odd scans", odd)
    parts += _lines("Warnings", list(found.warnings))
    return Group(*parts)


def edges(found: Inspection, bins: int) -> Float[np.ndarray, " edges"]:
    """Bins that hold the label of all sites."""
    values = np.concatenate([site.values for site in found.sites])
    return np.linspace(values.min(), max(values.max(), values.min() + 1), bins + 1) if len(values) else np.arange(2.0)


def _counts(found: Inspection) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("site", no_wrap=True)
    splits = [split for split in SPLITS if any(site.splits[split] for site in found.sites)]
    bins = edges(found, BINS)
    others = list(dict.fromkeys(name for site in found.sites for name in site.others))
    for name in ("scans", "people", *splits):
        table.add_column(name.removesuffix("ling"), justify="right", no_wrap=True)
    table.add_column(f"{found.label} {bins[0]:.3g}–{bins[-1]:.3g}", no_wrap=True)
    for name in others:
        table.add_column(name)
    for site in found.sites:
        bars = _bars(np.histogram(site.values, bins)[0]) if len(site.values) else "n/a"
        numbers = (site.counts.written, site.subjects, *(site.splits[split] for split in splits))
        table.add_row(site.site, *map(str, numbers), bars, *(site.others.get(name, "") for name in others))
    return table


def _bars(counts: Int[np.ndarray, " bins"]) -> str:
    highest = max(int(counts.max()), 1)
    return "".join(BARS[-(-int(n) * (len(BARS) - 1) // highest)] for n in counts)


def _unlearning(found: Inspection) -> Group:
    usable = [row for row in found.unlearning if row.scans]
    table = Table(title="Training scans that each rule would unlearn on (X_u)", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("site", no_wrap=True)
    for row in usable:
        table.add_column(f"{row.rule}\n{row.said}", justify="right")
    for site in found.sites:
        table.add_row(site.site, *(str(row.scans[site.site]) for row in usable))
    return Group(table, *map(Text, found.unusable))


def _lines(title: str, lines: list[str]) -> list[RenderableType]:
    if not lines:
        return []
    more = [f"… and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [Text(title, style="bold"), *(Text(f"  {line}") for line in [*lines[:MOST_LINES], *more]), Text("")]
