"""All figures of a run by name, for the page and for whoever mirrors them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from distunlearn.evaluate.measure import AGE
from distunlearn.report import figures_data, figures_error, figures_scanner, figures_scans
from distunlearn.report.record import RunRecord, StageRecord, read_run
from distunlearn.report.results import Row, result_rows


def figures(run: Path) -> dict[str, Figure]:
    """Every figure of a run, by a name such as `tsne/unlearning`.

    Raises:
        UserError: the folder is no run, or nothing in it has been evaluated.
    """
    record = read_run(run)
    return run_figures(record) | comparison_figures(result_rows([record]), record.sites)


def run_figures(run: RunRecord) -> dict[str, Figure]:
    """The figures of one run."""
    return (
        ({"ages": figures_data.ages(run)} if AGE in run.scans else {})
        | {f"tsne/{stage.name}": figures_scanner.tsne(run, stage) for stage in run.stages}
        | {f"{kind}/{stage.name}": draw(run, stage) for stage in run.stages for kind, draw in _by_age(stage).items()}
        | figures_data.losses(run)
        | figures_data.validation(run)
        | figures_scans.looks(run)
    )


def _by_age(stage: StageRecord) -> dict[str, Callable[[RunRecord, StageRecord], Figure]]:
    """The figures by age that make sense: an error wherever ages are known, calibration where age is predicted."""
    if stage.stage.predicted.target == AGE:
        return {
            "error_by_age": figures_error.error_by_age,
            "calibration": figures_error.calibration,
            "age_bias": figures_error.age_bias,
        }
    return {"error_by_age": figures_error.error_by_age} if AGE in stage.stage.table else {}


def comparison_figures(rows: Sequence[Row], sites: Sequence[str]) -> dict[str, Figure]:
    """The figures in which stages, of one run or of several, stand side by side."""
    drawn = {"error_by_site": figures_error.errors_by_site(rows, sites)}
    if any(row.tried for row in rows):
        drawn["scanner_accuracy"] = figures_scanner.scanner_accuracy(rows)
    if any(row.travellers for row in rows):
        drawn["travelling"] = figures_scanner.travelling(rows)
    if len([row for row in rows if row.tried]) > 2:
        drawn["tradeoff"] = figures_scanner.tradeoff(rows)
    return drawn
