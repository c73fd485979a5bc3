"""The table of a suite written from its files: TSV for machines, markdown, a self-contained page, and the terminal."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from distunlearn.experiments import bar_table
from distunlearn.experiments.drawings import drawings
from distunlearn.experiments.reproduce import read_suite
from distunlearn.experiments.results import (
    EXTERNAL,
    OPENBHB,
    SCANNER,
    Cell,
    Difference,
    cells,
    differences,
    done_runs,
    over_sites,
)
from distunlearn.experiments.suite import Row, Suite
from distunlearn.metrics import Interval
from distunlearn.report import html
from distunlearn.report.page import whole_page
from distunlearn.report.record import read_run
from distunlearn.report.words import LIMITS
from distunlearn.shard_format import MISSING

TABLE, DIFFERENCES, MARKDOWN, PAGE = "table.tsv", "differences.tsv", "table.md", "index.html"
BAR, FRONTIER = "bar.tsv", "bar.svg"
MOST_SITES = 8
"""With more, the table shows none of them in a column of its own; `table.tsv` holds them."""
NOTE = (
    "Ours: mean absolute error on test scans, mean ± SD over people; below it the SD over seeds and the error of answering "
    "everybody with the median training target. * not trained on. Scanner accuracy: balanced, in percent, strongest fresh probe on "
    "held-out scans; below it the SD over seeds, chance and what age with the model's own error reaches. "
    "The paper's cells are of UK Biobank, OASIS and Whitehall II, with SD over people and no seeds."
)
DIFFERENCES_HEAD = ("rows", "measure", "seeds", "difference [95%]")
DIFFERENCES_NOTE = (
    "First row minus second. Errors in years, paired by person and seed; the 95% interval holds both, people and "
    "trainings, but of one seed people alone, and is Student's over seeds where each has a split of its own. "
    "Scanner accuracy in points, paired by seed, Student's interval."
)
Lines = list[list[str]]
Show = Callable[[str, list[str]], str]
"""A cell from its figure and what stands below it."""


@dataclass(frozen=True)
class Table:
    """What came out of a suite so far."""

    out: Path
    suite: Suite
    cells: list[Cell]
    differences: list[Difference]
    bar: bar_table.BarTable | None = None

    @property
    def head(self) -> list[str]:
        """Columns: every site where they are few, and the measures that some row has."""
        there = {cell.measure for cell in self.cells}
        sites = self.suite.sites if len(self.suite.sites) <= MOST_SITES else ()
        return [*sites, *(name for name in (SCANNER, EXTERNAL, OPENBHB) if name in there)]

    @property
    def lead(self) -> str:
        """How much of the suite is done."""
        done = sum(len(done_runs(self.out, self.suite, row)) for row in self.suite.rows)
        return (
            f"{done} of {sum(1 for _ in self.suite.trainings())} trainings done: {len(self.suite.rows)} rows, "
            f"seeds {', '.join(map(str, self.suite.seeds))}; sites {', '.join(self.suite.sites)}"
        )

    def rows(self, show: Show) -> Lines:
        """Title, then a cell a column, as `show` puts it."""
        found = {(cell.row.id, cell.measure): cell for cell in self.cells}
        return [
            [row.title, *(_shown(row, name, found.get((row.id, name)), show) for name in self.head)]
            for row in self.suite.rows
        ]

    def compared(self) -> Lines:
        """Two rows, what is compared, seeds, the difference with its interval."""
        titles = {row.id: row.title for row in self.suite.rows}
        lines = [
            [
                f"{titles[each.contrast.row]} − {titles[each.contrast.against]}",
                each.measure, str(each.seeds), _interval(each.interval),
            ]
            for each in self.differences
        ]  # fmt: skip
        mean = over_sites(self.differences) if self.suite.pooled else None
        return lines if mean is None else [*lines, ["mean over left-out sites", "MAE", "", _interval(mean)]]


def read(out: Path) -> Table:
    """Read a suite's folder, finished or not.

    Raises:
        UserError: it is none.
    """
    suite = read_suite(out)
    bar = bar_table.read(out, suite, suite.bar) if suite.bar else None
    return Table(out, suite, cells(out, suite), differences(out, suite), bar)


def write(table: Table) -> Path:
    """Write all forms of the table; returns the page."""
    frame = pd.DataFrame([_flat(cell) for cell in table.cells])
    frame.to_csv(table.out / TABLE, sep="\t", index=False, na_rep=MISSING, float_format="%.4f")
    apart = pd.DataFrame([_flat_difference(each) for each in table.differences])
    apart.to_csv(table.out / DIFFERENCES, sep="\t", index=False, na_rep=MISSING, float_format="%.4f")
    if table.bar:
        table.bar.write(table.out / BAR)
        bar_table.frontier(table.bar).savefig(table.out / FRONTIER, metadata={"Date": None})
    (table.out / MARKDOWN).write_text(markdown(table), encoding="utf-8")
    (table.out / PAGE).write_text(_page(table), encoding="utf-8")
    return table.out / PAGE


def markdown(table: Table) -> str:
    """The table and the differences, for a document."""
    rows = table.rows(lambda figure, below: "<br>".join([figure, *below]))
    parts = [
        f"# {table.suite.title}", table.lead, *(_markdown_of_bar(table.bar) if table.bar else []),
        _markdown(["row", *table.head], rows), NOTE,
    ]  # fmt: skip
    if table.suite.contrasts:
        apart = _markdown(DIFFERENCES_HEAD, table.compared())
        parts += ["## Differences", apart, DIFFERENCES_NOTE]
    return "\n\n".join(parts) + "\n"


def _markdown_of_bar(bar: bar_table.BarTable) -> list[str]:
    return [_markdown(bar_table.FINDINGS, bar.found()), _markdown(bar_table.HEAD, bar.lines()), bar.below]


def _markdown(head: Sequence[str], rows: Lines) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in ([*head], ["---"] * len(head), *rows))


def _page(table: Table) -> str:
    rows = table.rows(_cell)
    shown = [[escape(title), *found] for title, *found in rows]
    apart = [[escape(cell) for cell in line] for line in table.compared()]
    figures = [html.figure(drawn, title, caption) for title, caption, drawn in drawings(table.out, table.suite)]
    body = [
        *([_bar_section(table.bar)] if table.bar else []),
        html.section("Table", html.table(["row", *table.head], shown, NOTE)),
        *([html.section("Differences", html.table(DIFFERENCES_HEAD, apart, DIFFERENCES_NOTE))] if apart else []),
        *([html.section("Figures", html.grid(figures))] if figures else []),
        html.section("What must not be concluded", html.bullets(LIMITS)),
    ]
    return whole_page(table.suite.title, table.lead, body, simulated=_simulated(table))


def _bar_section(bar: bar_table.BarTable) -> str:
    found, lines = ([[escape(cell) for cell in line] for line in rows] for rows in (bar.found(), bar.lines()))
    drawn = html.figure(bar_table.frontier(bar), "Error and scanner, every method", bar_table.CAPTION)
    return html.section(
        "The bar",
        html.table(bar_table.FINDINGS, found),
        html.table(bar_table.HEAD, lines, bar.below),
        html.grid([drawn]),
    )


def _cell(figure: str, below: list[str]) -> str:
    """A line each, so that the table is not wider than the page."""
    return escape(figure) + "".join(f"<small>{escape(line)}</small>" for line in below)


def _simulated(table: Table) -> bool:
    runs = [stage.parent for row in table.suite.rows for stage in done_runs(table.out, table.suite, row).values()]
    return bool(runs) and read_run(runs[0]).simulated


def show(table: Table) -> None:
    """Print the table."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(
        title=f"{table.suite.title} ({table.lead})", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in ("", *table.head):
        grid.add_column(name, justify="right" if name else "left")
    for line in table.rows(lambda figure, below: "\n".join([figure, *below])):
        grid.add_row(*line)
    console = Console()
    if table.bar:
        for what, figure, most, says in table.bar.found():
            console.print(f"{what}: {figure} ({most}): {says}", highlight=False)
    console.print(grid)
    for title, measure, _, difference in table.compared():
        console.print(f"{title}, {measure}: {difference}", highlight=False)


def _shown(row: Row, measure: str, cell: Cell | None, show: Show) -> str:
    if cell is None:
        paper = row.paper.mae.get(measure) if row.paper else None
        return show("–", [f"paper {paper[0]:.2f} ± {paper[1]:.2f}"] if paper else [])
    below = [f"± {cell.sd_seeds:.2f}, {cell.seeds} seeds" if cell.seeds > 1 else "1 seed"]
    if measure == SCANNER:
        below.append(f"chance {cell.chance:.0f}, age alone {cell.beside:.0f}")
        below += [] if math.isnan(cell.paper) else [f"paper {cell.paper:.0f}"]
        return show(f"{cell.mean:.0f}", below)
    people = "" if math.isnan(cell.sd_people) else f" ± {cell.sd_people:.2f}"
    unseen = "*" if measure not in {*row.sites, EXTERNAL, OPENBHB} else ""
    below += [] if math.isnan(cell.beside) else [f"median {cell.beside:.2f}"]
    below += [] if math.isnan(cell.paper) else [f"paper {cell.paper:.2f} ± {cell.paper_sd:.2f}"]
    return show(f"{cell.mean:.2f}{people}{unseen}", below)


def _interval(interval: Interval) -> str:
    if math.isnan(interval.low):
        return f"{interval.value:+.2f} (no interval from one)"
    return f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def _flat(cell: Cell) -> dict[str, object]:
    return {
        "row": cell.row.id, "trained_on": ",".join(cell.row.sites), "measure": cell.measure, "seeds": cell.seeds,
        "mean": cell.mean, "sd_seeds": cell.sd_seeds, "sd_people": cell.sd_people, "median_or_floor": cell.beside,
        "chance": cell.chance, "paper": cell.paper, "paper_sd": cell.paper_sd,
    }  # fmt: skip


def _flat_difference(each: Difference) -> dict[str, object]:
    return {
        "row": each.contrast.row, "against": each.contrast.against, "measure": each.measure, "seeds": each.seeds,
        "difference": each.interval.value, "low": each.interval.low, "high": each.interval.high,
    }  # fmt: skip
