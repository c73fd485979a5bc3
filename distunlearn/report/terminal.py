"""The results table on a terminal: the same rows as the page's."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from distunlearn.report.record import all_sites, read_run
from distunlearn.report.results import result_rows


def print_table(runs: Sequence[Path]) -> None:
    """Print a row a stage: MAE ± SD at each site with the median's error, scanner accuracy with chance and floor.

    Raises:
        UserError: a folder is no run, or nothing in it has been evaluated.
    """
    records = [read_run(run) for run in runs]
    sites = all_sites(records)
    table = Table(
        title="Test error in years: MAE ± SD over people (error of answering the median)", title_justify="left"
    )
    table.add_column("stage")
    for site in sites:
        table.add_column(site, justify="right")
    table.add_column("scanner accuracy, %", justify="right")
    table.add_column("verdict")
    for row in result_rows(records):
        errors = [f"{row.error(site)} ({row.median(site)}){'*' if row.unseen(site) else ''}" for site in sites]
        table.add_row(row.name, *errors, f"{row.accuracy}\n({row.beside_accuracy})", row.verdict)
    console = Console()
    console.print(table)
    if any(row.unseen(site) for row in result_rows(records) for site in sites):
        console.print("* left out of training")
    for row in result_rows(records)[-1:]:
        if row.probe:
            console.print(f"[bold]{row.probe['sentence']}[/bold]", highlight=False)
