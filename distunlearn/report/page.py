"""The report: one HTML file that needs nothing else, verdict first, readable on paper and on a phone."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from distunlearn import __version__
from distunlearn.errors import UserError
from distunlearn.report import headline, html, sections
from distunlearn.report.gallery import comparison_figures, run_figures
from distunlearn.report.probe_table import probe_tables
from distunlearn.report.record import RunRecord, all_sites, read_run
from distunlearn.report.results import result_rows
from distunlearn.report.words import SIMULATED, title_of
from distunlearn.run_folder import REPORT

KINDS = ("error_by_age", "calibration", "age_bias")
LOSSES = ("loss/task", "loss/domain", "loss/confusion")


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of a run, or one that compares several.

    Args:
        runs: run folders with at least one stage evaluated.
        out: the HTML file; `report.html` in the (first) run's folder if not given.

    Returns:
        Where it was written.

    Raises:
        UserError: no run was given, one is no run folder, or nothing in it has been evaluated.
    """
    if not runs:
        raise UserError("report: give at least one run folder")
    records = [read_run(run) for run in runs]
    path = out or runs[0] / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(records), encoding="utf-8")
    return path


def _page(runs: Sequence[RunRecord]) -> str:
    rows, sites = result_rows(runs), all_sites(runs)
    beside = comparison_figures(rows, sites)
    body = [
        headline.verdicts(rows),
        html.section("Results", headline.results(rows, sites), html.grid(_show(beside, *beside))),
        html.section("How well the scanner is told", probe_tables(rows)),
        *([html.section("What differs", sections.differences(runs))] if len(runs) > 1 else []),
        *([html.folded(f"Run {run.name}", _run(run)) for run in runs] if len(runs) > 1 else [_run(runs[0])]),
        html.section("What must not be concluded", sections.limits(runs)),
    ]
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs: {', '.join(run.name for run in runs)}"
    return whole_page(title, _lead(runs), body, simulated=any(run.simulated for run in runs))


def whole_page(title: str, lead: str, body: Sequence[str], *, simulated: bool) -> str:
    """A self-contained page.

    Args:
        title: plain text.
        lead: the line below it, plain text.
        body: sections in HTML.
        simulated: say that the scans were simulated.
    """
    resource = files("distunlearn.report")
    values = {
        "title": escape(title),
        "style": (resource / "style.css").read_text(),
        "lead": escape(lead),
        "simulated": f'<p class="banner">{escape(SIMULATED)}</p>' if simulated else "",
        "body": "\n".join(body),
        "version": escape(__version__),
    }
    return Template((resource / "page.html").read_text()).substitute(values)


def _lead(runs: Sequence[RunRecord]) -> str:
    sites = all_sites(runs)
    scans = max(len(run.scans) for run in runs)
    return f"{scans} scans of {len(sites)} sites ({', '.join(sites)}); stages: {' → '.join(stage.name for stage in runs[0].stages)}"


def _run(run: RunRecord) -> str:
    drawn = run_figures(run)
    stages = [stage.name for stage in run.stages]
    errors = [html.grid(_show(drawn, *(f"{kind}/{stage}" for kind in KINDS))) for stage in stages]
    return "".join((
        html.section("Features", html.grid(_show(drawn, *(f"tsne/{stage}" for stage in stages), "looks"))),
        html.section("Error", *errors),
        html.section("Data", html.beside("".join(_show(drawn, "ages")), sections.data(run))),
        html.section(
            "Training",
            html.grid(_show(drawn, *LOSSES)),
            html.beside("".join(_show(drawn, "validation")), sections.health(run) + sections.how(run)),
        ),
    ))


def _show(drawn: Mapping[str, Figure], *names: str) -> list[str]:
    return [html.figure(drawn[name], *title_of(name)) for name in names if name in drawn]
