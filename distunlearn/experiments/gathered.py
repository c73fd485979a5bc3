"""What came of a suite so far, gathered from its files, with the lines of its tables."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distunlearn.experiments import bar_table
from distunlearn.experiments.intervals import as_text
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

MOST_SITES = 8
"""With more, the table shows none of them in a column of its own; `table.tsv` holds them."""
NOTE = (
    "Ours: mean absolute error on test scans in years (units of the target), mean ± SD over people; below it the SD over seeds and the error of answering "
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
        """Title, then a cell a column, as `show` puts it; without rows of which neither we nor the paper have a figure."""
        found = {(cell.row.id, cell.measure): cell for cell in self.cells}
        ours = {cell.row.id for cell in self.cells}
        return [
            [row.title, *(_shown(row, name, found.get((row.id, name)), show) for name in self.head)]
            for row in self.suite.rows
            if row.paper or row.id in ours
        ]

    def compared(self) -> Lines:
        """Two rows, what is compared, seeds, the difference with its interval."""
        titles = {row.id: row.title for row in self.suite.rows}
        lines = [
            [
                f"{titles[each.contrast.row]} − {titles[each.contrast.against]}",
                each.measure, str(each.seeds), as_text(each.interval),
            ]
            for each in self.differences
        ]  # fmt: skip
        mean = over_sites(self.differences) if self.suite.pooled else None
        return lines if mean is None else [*lines, ["mean over left-out sites", "MAE", "", as_text(mean)]]


def read(out: Path) -> Table:
    """Read a suite's folder, finished or not.

    Raises:
        UserError: it is none.
    """
    suite = read_suite(out)
    bar = bar_table.read(out, suite, suite.bar) if suite.bar else None
    return Table(out, suite, cells(out, suite), differences(out, suite), bar)


def _shown(row: Row, measure: str, cell: Cell | None, show: Show) -> str:
    if cell is None:
        paper = row.paper.mae.get(measure) if row.paper else None
        return show("–", [f"paper {paper[0]:.2f} ± {paper[1]:.2f}"] if paper else [])
    below = [f"± {cell.sd_seeds:.2f}, {cell.seeds} seeds" if cell.seeds > 1 else "1 seed"]
    if measure == SCANNER:
        below.append(f"chance {cell.chance:.0f}, by age {cell.beside:.0f}")
        below += [] if math.isnan(cell.paper) else [f"paper {cell.paper:.0f}"]
        return show(f"{cell.mean:.0f}", below)
    people = "" if math.isnan(cell.sd_people) else f" ± {cell.sd_people:.2f}"
    unseen = "*" if measure not in {*row.sites, EXTERNAL, OPENBHB} else ""
    below += [] if math.isnan(cell.beside) else [f"median {cell.beside:.2f}"]
    below += [] if math.isnan(cell.paper) else [f"paper {cell.paper:.2f} ± {cell.paper_sd:.2f}"]
    return show(f"{cell.mean:.2f}{people}{unseen}", below)
