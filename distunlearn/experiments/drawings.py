"""Figures 2 to 4 of the paper from a suite's run folders: ages, features before and after unlearning, error by age."""

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from distunlearn.experiments.results import done_runs
from distunlearn.experiments.suite import Row, Suite
from distunlearn.report import figures_data, figures_error, figures_scanner
from distunlearn.report.record import RunRecord, read_run
from distunlearn.report.words import title_of

Drawing = tuple[str, str, Figure]
"""Title, caption, figure."""


def drawings(out: Path, suite: Suite) -> list[Drawing]:
    """The figures that the rows that are done allow, each of the first seed that is done."""
    done = [(row, run) for row in suite.rows if (run := _first(out, suite, row))]
    whole = [(row, run) for row, run in done if set(row.sites) == set(suite.sites)]
    return [*_ages(whole), *_features(whole), *_errors(suite, done)]


def first_of_all_sites(out: Path, suite: Suite) -> RunRecord | None:
    """The first row that is done of those that were trained on every site; None while there is none."""
    whole = (row for row in suite.rows if set(row.sites) == set(suite.sites))
    return next((run for row in whole if (run := _first(out, suite, row))), None)


def _first(out: Path, suite: Suite, row: Row) -> RunRecord | None:
    stages = done_runs(out, suite, row)
    return read_run(stages[min(stages)].parent) if stages else None


def _ages(whole: list[tuple[Row, RunRecord]]) -> Iterator[Drawing]:
    """Fig. 2."""
    if whole:
        yield *title_of("ages"), figures_data.ages(whole[0][1])


def _features(whole: list[tuple[Row, RunRecord]]) -> Iterator[Drawing]:
    """Fig. 3: every stage of the last row that unlearns on all sites."""
    unlearned = [(row, run) for row, run in whole if row.training == "unlearning"]
    for row, run in unlearned[-1:]:
        for stage in run.stages:
            title, caption = title_of("tsne")
            yield f"{title}: {row.title}, after {stage.name}", caption, figures_scanner.tsne(run, stage)


def _errors(suite: Suite, done: list[tuple[Row, RunRecord]]) -> Iterator[Drawing]:
    """Fig. 4, of Table 2: every row, so that its regimes stand beside each other; the paper shows 10 years."""
    for row, run in done if suite.name == "table2" else []:
        title, caption = title_of("error_by_age")
        yield f"{title}: {row.title}", caption, figures_error.error_by_age(run, run.last)
