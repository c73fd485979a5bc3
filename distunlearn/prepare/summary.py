"""What was found and what became of it, in words for a terminal; nobody is named unless the user asks."""

from collections import Counter
from collections.abc import Iterable, Sequence

from distunlearn.prepare.preview import Preview
from distunlearn.prepare.refusal import Dropped
from distunlearn.prepare.run import Summary

MOST_LINES = 40


def describe_summary(summary: Summary, remarks: Sequence[str] = (), *, show_ids: bool) -> str:
    """Lines that say how many scans were found, written and refused, and why, and what else is to be said."""
    rows = [
        (site, str(counts.found), str(counts.written), str(sum(counts.refused.values())))
        for site, counts in summary.sites.items()
    ]
    table = in_columns([("site", "found", "written", "refused"), *rows]) if rows else ""
    return "\n".join([
        line
        for line in (table, *_rest(summary.dropped, summary.left_out, [*summary.notes, *remarks], show_ids))
        if line
    ])


def describe_preview(preview: Preview, remarks: Sequence[str] = (), *, allowed: int, show_ids: bool) -> str:
    """A table of what would be kept, a site, why the rest would not, and whether so many may be refused."""
    labels = list(dict.fromkeys(name for site in preview.sites for name in site.labels))
    splits = [
        split for split in ("train", "val", "test", "travelling") if any(site.splits[split] for site in preview.sites)
    ]
    header = ("site", "keep", "drop", "subjects", *splits, *labels)
    rows = [
        (site.site, str(site.kept), str(site.refused), str(site.subjects), *(str(site.splits[split]) for split in splits),
         *(site.labels.get(name, "") for name in labels))
        for site in preview.sites
    ]  # fmt: skip
    rest = _rest(preview.dropped, preview.left_out, [*preview.notes, *remarks], show_ids)
    dropped = len(preview.dropped)
    if dropped > allowed:
        rest.append(
            f"{dropped} refused and {allowed} allowed: it would fail; correct them, or give --max-refused {dropped}"
        )
    return "\n".join([in_columns([header, *rows]), *rest, "Nothing was written (--dry-run)."])


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, aligned."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _rest(dropped: Sequence[Dropped], left_out: int, notes: Iterable[str], show_ids: bool) -> list[str]:
    rules = Counter((drop.site or "?", drop.rule) for drop in dropped)
    lines = [f"refused at {site}, rule {rule}: {n}" for (site, rule), n in sorted(rules.items())]
    lines += [_line(drop, show_ids) for drop in dropped[:MOST_LINES]]
    if len(dropped) > MOST_LINES:
        lines.append(f"  … and {len(dropped) - MOST_LINES} more")
    if left_out:
        lines.append(f"left out by your own options: {left_out}")
    return [*lines, *(f"note: {note}" for note in notes)]


def _line(drop: Dropped, show_ids: bool) -> str:
    place = ", ".join(part for part in (drop.place, drop.source if show_ids else "") if part)
    return f"  {drop.site or '?'}: {place or 'a scan (--show-ids names it)'}: {drop.reason} [{drop.rule}]"
