"""The results table on a terminal: the same rows as the page's."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from distunlearn.report.record import all_sites, read_run
from distunlearn.report.results import Row, result_rows
from distunlearn.run_folder import SUMMARY, read_json

MOST_SITES = 6
"""With more, the terminal shows the mean over sites and the worst site; the page shows all."""


def print_table(runs: Sequence[Path]) -> None:
    """Print a row a stage: error ± SD at each site with the median's error, scanner accuracy with chance and floor.

    Raises:
        UserError: a folder is no run, or nothing in it has been evaluated.
    """
    records = [read_run(run) for run in runs]
    sites, rows = all_sites(records), result_rows(records)
    table = Table(
        title=f"Test scans: {_measures(rows)} ± SD over people; below it that of one answer for everybody", title_justify="left",
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False,
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    shown = sites if len(sites) <= MOST_SITES else ("mean over sites", "worst site")
    for name in (*shown, "told %", "chance", "by age"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        errors = [_error(row, site) for site in sites] if shown == sites else _over_sites(row)
        table.add_row(
            row.name.replace(": ", "\n"),
            *errors,
            row.accuracy.replace(" ", "\n", 1),
            row.chance,
            row.floor,
        )
    console = Console()
    console.print(table)
    if any(row.unseen(site) for row in rows for site in sites):
        console.print("* left out of training")
    for row in rows:
        said = row.probe["sentence"] if row.probe else "Not probed yet."
        console.print(f"{row.name}: [bold]{said}[/bold]", highlight=False)


def error_table(stage: Path) -> Table:
    """The errors of one evaluated stage, or of a model on other shards: a row a split and site."""
    table = Table(title=f"Error of {stage.name}", title_justify="left", box=SIMPLE_HEAD)
    for name in ("split", "site", "people", "error ± SD", "one answer for all"):
        table.add_column(name, justify="left" if name in {"split", "site"} else "right")
    for split, cells in read_json(stage / SUMMARY)["splits"].items():
        for site, cell in cells.items():
            if "suppressed" in cell:
                table.add_row(split, site, "", cell["suppressed"], "")
            else:
                error, constant = f"{cell['error']:.2f} ± {cell['sd']:.2f}", cell["constant_error"]
                table.add_row(split, site, str(cell["people"]), error, "" if constant is None else f"{constant:.2f}")
    return table


def _measures(rows: Sequence[Row]) -> str:
    return " or ".join(dict.fromkeys(f"{row.measure.name} ({row.measure.unit})" for row in rows))


def _error(row: Row, site: str) -> str:
    return f"{row.error(site)}{'*' if row.unseen(site) else ''}\n{row.beside_error(site)}"


def _over_sites(row: Row) -> list[str]:
    if row.mean_error is None or row.worst is None:
        return ["–", "–"]
    return [f"{row.mean_error:.2f}", f"{row.worst}\n{_error(row, row.worst)}"]
