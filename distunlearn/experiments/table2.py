"""Table 2 of the paper: age from two sites whose training scans hardly overlap in age.

Rows: its nine, overlaps of 5, 10 and 15 years, each by normal training, by naive unlearning (X_u = X_p) and by
unlearning on the overlap alone. X_p is biased as in the authors' code: the first site's training scans are younger than
60 + overlap, the second's older than 60; `--border` and `--overlaps` suit other sites. Test scans are not restricted.
On simulated studies the second site's people below all training ages rule its full-range error, whatever the method.
Training: normal rows take as many epochs as the base configuration's stages together.
Run it: distunlearn reproduce table2 --shards SHARDS --out OUT --preset demo
"""

from collections.abc import Iterator
from typing import Literal

from distunlearn.experiments.suite import Arena, Contrast, Published, Row, Suite, Training, need_sites
from distunlearn.streaming.selection import Selection

Method = Literal["normal", "naive", "overlap"]

PAPER: dict[tuple[float, Method], tuple[tuple[float, float], tuple[float, float], float]] = {
    (5, "normal"): ((16.5, 5.94), (15.5, 6.95), 100),
    (5, "naive"): ((6.11, 3.99), (4.44, 4.20), 58),
    (5, "overlap"): ((5.49, 3.67), (4.37, 4.05), 53),
    (10, "normal"): ((9.66, 5.83), (13.6, 6.58), 100),
    (10, "naive"): ((4.20, 2.90), (4.29, 4.01), 56),
    (10, "overlap"): ((3.93, 2.81), (4.04, 3.86), 52),
    (15, "normal"): ((8.91, 5.31), (10.4, 5.55), 100),
    (15, "naive"): ((3.82, 2.84), (4.39, 4.07), 57),
    (15, "overlap"): ((3.75, 2.78), (3.99, 3.52), 50),
}
"""Overlap in years and method: MAE ± SD at Biobank and OASIS, scanner accuracy in percent."""
TRAININGS: dict[Method, Training] = {"normal": "normal", "naive": "unlearning", "overlap": "unlearning"}
TITLES: dict[Method, str] = {"normal": "Standard", "naive": "Naive unlearning", "overlap": "Unlearning on overlap"}
COMPARED: tuple[tuple[Method, Method], ...] = (("naive", "normal"), ("overlap", "normal"), ("overlap", "naive"))


def table2(arena: Arena) -> Suite:
    """The suite, with two sites in the places of Biobank and OASIS.

    Raises:
        UserError: fewer than two sites are given.
    """
    sites = need_sites(arena, "table2", 2)
    contrasts = tuple(
        Contrast(row=_id(width, row), against=_id(width, other), sites=sites)
        for width in arena.overlaps
        for row, other in COMPARED
    )
    rows = tuple(row for width in arena.overlaps for row in _rows(arena, sites, width))
    return Suite(name="table2", title="Table 2: biased training sets", sites=sites, rows=rows, contrasts=contrasts)


def _rows(arena: Arena, sites: tuple[str, ...], width: float) -> Iterator[Row]:
    low, high = arena.border, arena.border + width
    biased = {sites[0]: {arena.label: f"<{high:g}"}, sites[1]: {arena.label: f">{low:g}"}}
    for method, training in TRAININGS.items():
        yield Row(
            id=_id(width, method),
            title=f"{width:g} years: {TITLES[method]}",
            sites=sites,
            training=training,
            main=Selection(rule="where", where_site=biased),
            unlearn=Selection(rule="overlap", label=arena.label, bounds=(low, high)) if method == "overlap" else "main",
            paper=_published(sites, width, method),
        )


def _id(width: float, method: Method) -> str:
    return f"{width:g}y-{method}".replace(".", "_")


def _published(sites: tuple[str, ...], width: float, method: Method) -> Published | None:
    if (width, method) not in PAPER:
        return None
    first, second, scanner = PAPER[width, method]
    return Published(mae=dict(zip(sites, (first, second), strict=True)), scanner=scanner)
