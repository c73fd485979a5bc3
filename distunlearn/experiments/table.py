"""The table of a suite written from its files: TSV for machines, markdown, a self-contained page, and the terminal."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from distunlearn.experiments import bar_table
from distunlearn.experiments.gathered import DIFFERENCES_HEAD, DIFFERENCES_NOTE, NOTE, Lines, Table, read
from distunlearn.experiments.page import page
from distunlearn.experiments.results import Cell, Difference
from distunlearn.shard_format import MISSING

__all__ = ["Table", "files", "markdown", "read", "show", "write"]

TABLE, DIFFERENCES, MARKDOWN, PAGE = "table.tsv", "differences.tsv", "table.md", "index.html"
BAR, FRONTIER = "bar.tsv", "bar.svg"


def files(table: Table) -> list[Path]:
    """All forms of the table."""
    return [table.out / name for name in (TABLE, DIFFERENCES, MARKDOWN, PAGE, *((BAR, FRONTIER) if table.bar else ()))]


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
    (table.out / PAGE).write_text(page(table), encoding="utf-8")
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
