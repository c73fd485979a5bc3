"""What the page begins with: the verdict, the few figures that people ask for first, and the results table."""

from collections.abc import Sequence
from html import escape
from typing import Any

from distunlearn.evaluate.summary import FEWEST_PEOPLE
from distunlearn.probing.verdict import NOT_SEPARABLE, REDUCED, UNDECIDED
from distunlearn.report import html
from distunlearn.report.results import Row

MOST_SITES = 8
"""Columns of the results table; with more sites it shows their mean and the worst, and all of them below."""
MOST_TILES = 3
"""Runs whose headline figures are shown; with more, the table is clearer."""


def verdicts(rows: Sequence[Row]) -> str:
    """The last stage's verdict of each run, with the figures that it rests on."""
    last = [row for row in rows if row.stage is row.run.last]
    return "".join(_verdict(row, with_tiles=len(last) <= MOST_TILES) for row in last)


def _verdict(row: Row, *, with_tiles: bool) -> str:
    if row.probe is None:
        return html.verdict("unknown", row.name, "Not probed yet", f"Run distunlearn probe {row.run.name}.")
    head, _, rest = row.probe["sentence"].partition(": ")
    tiles = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in _tiles(row))
    shown = f'<div class="tiles">{tiles}</div>' if with_tiles else ""
    return html.verdict(_kind(row.verdict), row.name, head, rest[:1].upper() + rest[1:], shown)


def _kind(verdict: str) -> str:
    if verdict.startswith(NOT_SEPARABLE):
        return "good"
    return {REDUCED: "middling", UNDECIDED: "unknown"}.get(verdict, "bad")


def _tiles(row: Row) -> list[tuple[str, str]]:
    tiles = []
    if row.main:
        found = row.tried[row.main]
        was = f", from {100 * found['before']['value']:.0f}% before" if "before" in found else ""
        beside = row.beside_accuracy.partition(";")[0]
        tiles.append((f"{100 * found['strongest']['value']:.0f}%", f"scanner told, {row.main} scans{was}; {beside}"))
    if row.mean_error is not None:
        constant, name, change = row.mean_constant_error, row.measure.constant_name, row.error_change
        beside = "" if constant is None else f"; answering the {name} {constant:.2f}"
        if row.before and change:
            beside = f", {change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}] against {row.before.name}{beside}"
        tiles.append((_with_unit(row.mean_error, row.measure.unit), f"{row.measure.name}, mean over sites{beside}"))
    now, earlier = _apart(row.probe), _apart(row.before.probe if row.before else None)
    if now is not None:
        before = "" if earlier is None else f", {earlier:.2f} before"
        people = row.travellers["people"]
        tiles.append((
            f"{now:.2f} {row.unit}".strip(),
            f"two scanners apart on the same person ({people} people){before}",
        ))
    return tiles


def _apart(probe: dict[str, Any] | None) -> float | None:
    """How far two scanners' predictions of one person are apart, mean over pairs of scanners."""
    pairs = ((probe or {}).get("travellers") or {}).get("pairs", {})
    return sum(pair["disagreement"]["value"] for pair in pairs.values()) / len(pairs) if pairs else None


def _with_unit(value: float, unit: str) -> str:
    return f"{value:.2f}%" if unit == "%" else f"{value:.2f} {unit}"


def results(rows: Sequence[Row], sites: Sequence[str]) -> str:
    """The table after the paper's Table 1; with many sites their mean and the worst, and a table a site below."""
    if len(sites) <= MOST_SITES:
        return html.table(["stage", *sites, *SCANNER], [_line(row, _cells(row, sites)) for row in rows], _caption(rows))
    short = [_line(row, _summed_up(row)) for row in rows]
    by_site = [[escape(site), *(cell for row in rows for cell in _cells(row, [site]))] for site in sites]
    return html.table(["stage", "mean over sites", "worst site", *SCANNER], short, _caption(rows)) + html.folded(
        "Every site", html.table(["site", *(row.name for row in rows)], by_site)
    )


SCANNER = ("scanner accuracy, %", "verdict")


def _line(row: Row, errors: Sequence[str]) -> list[str]:
    return [escape(row.name), *errors, html.two_lines(row.accuracy, row.beside_accuracy), escape(row.verdict)]


def _cells(row: Row, sites: Sequence[str]) -> list[str]:
    return [html.two_lines(row.error(site) + " (unseen)" * row.unseen(site), row.beside_error(site)) for site in sites]


def _summed_up(row: Row) -> list[str]:
    if row.mean_error is None or row.worst is None:
        return ["–", "–"]
    constant = "" if row.mean_constant_error is None else f"{row.measure.constant_name} {row.mean_constant_error:.2f}"
    worst = html.two_lines(row.error(row.worst), f"{row.worst}: {row.beside_error(row.worst)}")
    return [html.two_lines(f"{row.mean_error:.2f}", constant), worst]


def _caption(rows: Sequence[Row]) -> str:
    measures = " or ".join(dict.fromkeys(f"{row.measure.name} in {row.measure.unit}" for row in rows))
    return (
        f"{measures} ± SD over people of the test split; below it the error of answering everybody with the median of all training targets (for classes, the "
        f"most frequent one). Sites with fewer than {FEWEST_PEOPLE} people are not shown. Scanner accuracy: balanced, in percent, of the strongest fresh probe on "
        "held-out scans, with its 95% interval; below it chance, what the label with the model's own error reaches, and on which scans."
    )
