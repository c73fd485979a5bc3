"""An inspection as one HTML file that needs nothing else."""

import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from distunlearn import __version__
from distunlearn.report import html
from distunlearn.report.inspection.look import Inspection
from distunlearn.report.inspection.pictures import MOST_ROWS, distributions, mosaic
from distunlearn.shard_format import SPLITS


def write_page(found: Inspection, path: Path) -> Path:
    """Write the page; it shows slices of scans, so it is to be treated as the shards are."""
    body = [_warnings(found), _sites(found), _overlap(found), _pictures(found), _odd(found), _how(found)]
    page = Template((files("distunlearn.report.inspection") / "page.html").read_text()).substitute(
        style=(files("distunlearn.report") / "style.css").read_text(),
        lead=escape(_lead(found)),
        body="\n".join(body),
        version=escape(__version__),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _lead(found: Inspection) -> str:
    written = sum(site.counts.written for site in found.sites)
    shape = " × ".join(map(str, found.shape))
    what = f"volumes of {shape} voxels" if found.kind == "volume" else f"rows of {shape} features"
    return f"{written} {what} of {len(found.sites)} sites"


def _warnings(found: Inspection) -> str:
    if not found.warnings:
        return html.section("Before you train", html.paragraph("Nothing to warn of."))
    return html.section("Before you train", html.bullets(found.warnings))


def _sites(found: Inspection) -> str:
    others = list(dict.fromkeys(name for site in found.sites for name in site.others))
    splits = [split for split in SPLITS if any(site.splits[split] for site in found.sites)]
    head = (
        "site",
        "found",
        "written",
        "refused",
        "people",
        "most sessions",
        *splits,
        f"without {found.label}",
        *others,
    )
    rows = []
    for site in found.sites:
        refused = "".join(html.two_lines(str(n), rule) for rule, n in site.counts.refused.items()) or "0"
        rows.append((
            escape(site.site), str(site.counts.found), str(site.counts.written), refused, str(site.subjects),
            str(site.sessions), *(str(site.splits[split]) for split in splits), str(site.missing),
            *(escape(site.others.get(name, "")) for name in others),
        ))  # fmt: skip
    drawn = html.figure(
        distributions(found), f"{found.label.capitalize()} at each site",
        "As Fig. 2 of the paper. Sites that hardly overlap cannot be unlearned on all scans: what tells the scanner then "
        f"also tells the {found.label}.",
    )  # fmt: skip
    return html.section(
        "Sites", html.table(head, rows, "Scans of each site. found = written + refused."), html.grid([drawn])
    )


def _overlap(found: Inspection) -> str:
    if not found.unlearning:
        return ""
    usable = [row for row in found.unlearning if row.scans]
    head = ("site", *(f"{row.rule}: {row.said}" for row in usable))
    rows = [(escape(site.site), *(str(row.scans[site.site]) for row in usable)) for site in found.sites]
    caption = (
        "Training scans that each rule would select for unlearning (X_u), eq. (2) and (3). all: every one; overlap: where "
        f"the {found.label} of all sites overlaps; matched: the same, in batches with equal distributions of it."
    )
    return html.section("What would be unlearned on", html.table(head, rows, caption), html.bullets(found.unusable))


def _pictures(found: Inspection) -> str:
    if found.kind != "volume":
        return ""
    caption = (
        "Middle axial slice of scans of each site, as a network sees them; the last three are the mean of the site: axial, "
        "coronal, sagittal. The person's right is at the right, the front at the top. Black is -1, white 3 standard "
        "deviations. A mean that is mirrored, turned or blurred against the others is a fault of preparation."
    )
    more = f" The first {MOST_ROWS} sites." if len(found.sites) > MOST_ROWS else ""
    return html.section(
        "What the scans look like", html.figure(mosaic(found), "Scans and mean of each site", caption + more)
    )


def _odd(found: Inspection) -> str:
    if not found.outliers:
        return html.section("Odd scans", html.paragraph("None among those looked at."))
    rows = [(escape(outlier.site), escape(outlier.key), escape(outlier.why)) for outlier in found.outliers]
    caption = (
        "More than 6 robust standard deviations from the median of their own site. Look before you take them away."
    )
    return html.section("Odd scans", html.table(("site", "scan", "why"), rows, caption, words=True))


def _how(found: Inspection) -> str:
    text = escape(json.dumps(found.preprocessing, indent=1))
    read = ", ".join(f"{site} {n}" for site, n in found.content.read.items())
    return html.section(
        "How they were made",
        html.folded("Preprocessing, the same at every site", f"<pre>{text}</pre>"),
        html.paragraph(f"Scans looked at: {read}."),
    )
