"""What was found and what became of it, in words for a terminal; nobody is named unless the user asks."""

from collections import Counter

from distunlearn.prepare.refusal import Dropped
from distunlearn.prepare.run import Summary

MOST_LINES = 40


def describe(summary: Summary, *, show_ids: bool) -> str:
    """Lines that say how many scans were found, written and refused, and why."""
    lines = [
        _counts(site, counts.found, counts.written, sum(counts.refused.values()))
        for site, counts in summary.sites.items()
    ]
    rules = Counter((drop.site or "?", drop.rule) for drop in summary.dropped)
    lines += [f"  refused at {site}, rule {rule}: {n}" for (site, rule), n in sorted(rules.items())]
    lines += [_line(drop, show_ids) for drop in summary.dropped[:MOST_LINES]]
    if len(summary.dropped) > MOST_LINES:
        lines.append(f"  … and {len(summary.dropped) - MOST_LINES} more")
    if summary.left_out:
        lines.append(f"left out by your own options: {summary.left_out}")
    return "\n".join([*lines, *summary.notes])


def _counts(site: str, found: int, written: int, refused: int) -> str:
    return f"{site}: {found} scans found = {written} written + {refused} refused"


def _line(drop: Dropped, show_ids: bool) -> str:
    place = ", ".join(part for part in (drop.place, drop.source if show_ids else "") if part)
    return f"  {drop.site or '?'}: {place or 'a scan (--show-ids names it)'}: {drop.reason} [{drop.rule}]"
