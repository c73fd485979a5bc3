"""The self-contained page of a suite: what came of it, its table, differences, figures, data and limits."""

from html import escape

from distunlearn.experiments import bar_table, outcome
from distunlearn.experiments.drawings import drawings, first_of_all_sites
from distunlearn.experiments.gathered import DIFFERENCES_HEAD, DIFFERENCES_NOTE, NOTE, Table
from distunlearn.experiments.results import EXTERNAL, SCANNER, done_runs
from distunlearn.report import html, sections
from distunlearn.report.page import whole_page
from distunlearn.report.record import read_run
from distunlearn.report.words import LIMITS

HEADS = {SCANNER: "scanner accuracy, %", EXTERNAL: "external MAE, years"}
"""Of the columns whose names do not say what they are in."""


def page(table: Table) -> str:
    """In HTML."""
    rows = table.rows(_cell)
    shown = [[escape(title), *found] for title, *found in rows]
    apart = [[escape(cell) for cell in line] for line in table.compared()]
    figures = [html.figure(drawn, title, caption) for title, caption, drawn in drawings(table.out, table.suite)]
    body = [
        _outcome(table),
        *([_bar_section(table.bar)] if table.bar else []),
        html.section("Table", html.table(["row", *(HEADS.get(name, name) for name in table.head)], shown, NOTE)),
        *([html.section("Differences", html.table(DIFFERENCES_HEAD, apart, DIFFERENCES_NOTE))] if apart else []),
        *([html.section("Figures", html.grid(figures))] if figures else []),
        *_trained_on_what(table),
        html.section("What must not be concluded", html.bullets(LIMITS)),
    ]
    return whole_page(table.suite.title, table.lead, body, simulated=_simulated(table))


def _outcome(table: Table) -> str:
    """What came of it, before anything else."""
    if table.bar:
        says = [found.says for found in table.bar.findings]
        return html.verdict(
            "unknown",
            table.bar.recipe,
            f"{says.count('met')} of {len(says)} are met",
            "The bar that we set ourselves:",
            html.bullets([f"{found.what}: {found.says}" for found in table.bar.findings]),
        )
    lines = [*outcome.verdicts(table.out, table.suite), *outcome.changes(table.suite, table.differences)]
    if not lines:
        return ""
    said = "Verdicts of the probes by kind of training, and cells of which the 95% interval of the difference lies below zero, above it, or holds it:"
    return html.verdict("unknown", "", "What came of it", said, html.bullets(lines))


def _trained_on_what(table: Table) -> list[str]:
    """Scans, preprocessing and configuration of the first training on all sites, which the rows vary."""
    run = first_of_all_sites(table.out, table.suite)
    if run is None:
        return []
    return [
        html.section("Data", html.paragraph(f"Of {run.name}; other rows take fewer."), sections.data(run)),
        html.section(
            "Training", html.paragraph(f"Of {run.name}; other rows change what their titles say."), sections.how(run)
        ),
    ]


def _bar_section(bar: bar_table.BarTable) -> str:
    found, lines = ([[escape(cell) for cell in line] for line in rows] for rows in (bar.found(), bar.lines()))
    drawn = html.figure(bar_table.frontier(bar), "Error and scanner, every method", bar_table.CAPTION)
    return html.section(
        "Held to the bar",
        html.table(bar_table.FINDINGS, found),
        html.table(bar_table.HEAD, lines, bar.below),
        html.grid([drawn]),
    )


def _cell(figure: str, below: list[str]) -> str:
    """A line each, so that the table is not wider than the page."""
    return escape(figure) + "".join(f"<small>{escape(line)}</small>" for line in below)


def _simulated(table: Table) -> bool:
    runs = (stage.parent for row in table.suite.rows for stage in done_runs(table.out, table.suite, row).values())
    first = next(runs, None)
    return first is not None and read_run(first).simulated
