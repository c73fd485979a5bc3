"""The figures of a suite, from its files alone: ours beside the paper's, spread over seeds, paired differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distunlearn.evaluate.measure import predicted
from distunlearn.evaluate.stage import read_predictions
from distunlearn.evaluate.summary import FEWEST_PEOPLE, Errors, errors_by_person
from distunlearn.experiments.intervals import paired, student
from distunlearn.experiments.reproduce import folder_of, is_done
from distunlearn.experiments.suite import Contrast, Published, Row, Suite
from distunlearn.metrics import Interval
from distunlearn.probing.verdict import main_set
from distunlearn.run_folder import PROBE, SUMMARY, read_json, stages_done

SCANNER, EXTERNAL, OPENBHB = "scanner accuracy", "external MAE", "OpenBHB measure"
EXPONENT = 0.3
"""Of the balanced accuracy in the OpenBHB challenge's measure."""


@dataclass(frozen=True)
class Cell:
    """One figure of one row, over its seeds."""

    row: Row
    measure: str
    """A site, whose figure is the mean absolute error in years, or one of the names above."""
    seeds: int
    mean: float
    sd_seeds: float
    """NaN with one seed."""
    sd_people: float
    """Over people, the mean over seeds: the ± of the paper; NaN where there is none."""
    beside: float
    """For an error that of answering the median, for scanner accuracy the floor; NaN where there is none."""
    chance: float
    """Of scanner accuracy."""
    paper: float
    paper_sd: float


@dataclass(frozen=True)
class Difference:
    """One row minus another, person by person and seed by seed."""

    contrast: Contrast
    measure: str
    seeds: int
    interval: Interval
    """95%; its ends are NaN where one seed or site alone gives none."""


def done_runs(out: Path, suite: Suite, row: Row) -> dict[int, Path]:
    """The last stage's folder of each seed that is done."""
    folders = {seed: folder_of(out, row, seed) for seed in suite.seeds}
    return {seed: stages_done(folder)[-1] for seed, folder in folders.items() if is_done(folder)}


def cells(out: Path, suite: Suite) -> list[Cell]:
    """Every figure of every row that has a seed done, in the order of the suite."""
    found = []
    for row in suite.rows:
        each = [figure for stage in done_runs(out, suite, row).values() for figure in _figures(stage, row, suite)]
        figures = pd.DataFrame(each, columns=["measure", "value", "sd", "beside", "chance"])
        for measure in (*suite.sites, SCANNER, EXTERNAL, OPENBHB):
            mine = figures[figures["measure"] == measure]
            if len(mine):
                found.append(_cell(row, measure, mine))
    return found


def _cell(row: Row, measure: str, mine: pd.DataFrame) -> Cell:
    published = row.paper or Published(mae={})
    paper, paper_sd = published.mae.get(measure, (np.nan, np.nan))
    if measure == SCANNER and published.scanner is not None:
        paper = published.scanner
    means = mine[["value", "sd", "beside", "chance"]].astype(float).mean()
    spread = float(mine["value"].std(ddof=1))
    return Cell(
        row, measure, len(mine), means["value"], spread, means["sd"], means["beside"], means["chance"], paper, paper_sd
    )


def _figures(stage: Path, row: Row, suite: Suite) -> Iterator[dict[str, Any]]:
    """The figures of one run."""
    summary = read_json(stage / SUMMARY)["splits"].get("test", {})
    errors = {site: summary[site] for site in suite.sites if "error" in summary.get(site, {})}
    for site, cell in errors.items():
        yield {"measure": site, "value": cell["error"], "sd": cell["sd"], "beside": cell["constant_error"]}
    told = scanner(stage)
    if told is not None:
        yield {"measure": SCANNER, "value": told.accuracy, "beside": told.floor, "chance": told.chance}
    unseen = [cell["error"] for site, cell in errors.items() if site not in row.sites]
    if unseen:
        external = float(np.mean(unseen))
        yield {"measure": EXTERNAL, "value": external}
        if told is not None:
            yield {"measure": OPENBHB, "value": external * (told.accuracy / 100) ** EXPONENT}


@dataclass(frozen=True)
class Scanner:
    """How well the strongest probe told the scanner, in percent; two are comparable on the same set and sites."""

    accuracy: float
    floor: float
    chance: float
    on: tuple[str, ...]
    """The set and its sites."""


def scanner(stage: Path) -> Scanner | None:
    """From the set that stands for all; None where none was tried, as with one site."""
    sets = read_json(stage / PROBE)["sets"]
    tried = {name: found for name, found in sets.items() if "too_few" not in found}
    if not tried:
        return None
    name = main_set(tried)
    found = tried[name]
    floor = found["floor"]["label_with_error"]["value"]
    return Scanner(
        100 * found["strongest"]["value"], 100 * floor, 100 * found["chance"], (name, *found["scans"])
    )  # fmt: skip


def differences(out: Path, suite: Suite) -> list[Difference]:
    """Every comparison of the suite for which both rows have a seed in common."""
    rows = {row.id: row for row in suite.rows}
    found: list[Difference] = []
    for contrast in suite.contrasts:
        ours, theirs = (done_runs(out, suite, rows[name]) for name in (contrast.row, contrast.against))
        pairs = [(ours[seed], theirs[seed]) for seed in suite.seeds if seed in ours and seed in theirs]
        if pairs:
            found += _compared(contrast, pairs)
    return found


def _compared(contrast: Contrast, pairs: Sequence[tuple[Path, Path]]) -> Iterator[Difference]:
    tables = [(_test_errors(ours), _test_errors(theirs)) for ours, theirs in pairs]
    for site in contrast.sites:
        apart = [
            (ours.xs(site, level="site") - theirs.xs(site, level="site")).dropna()
            for ours, theirs in tables
            if all(site in errors.index.get_level_values("site") for errors in (ours, theirs))
        ]
        if apart and len(apart[0]) >= FEWEST_PEOPLE:
            yield Difference(contrast, site, len(apart), paired(apart))
    told = [(scanner(ours), scanner(theirs)) for ours, theirs in pairs]
    both = [ours.accuracy - theirs.accuracy for ours, theirs in told if ours and theirs and ours.on == theirs.on]
    if both:
        yield Difference(contrast, SCANNER, len(both), student(both))


def _test_errors(stage: Path) -> Errors:
    return errors_by_person(read_predictions(stage), predicted(stage.parent).measure)


def over_sites(found: Sequence[Difference]) -> Interval | None:
    """The mean over left-out sites of the differences at each, with Student's interval over sites."""
    values = [each.interval.value for each in found if each.measure in each.contrast.sites]
    return student(values) if values else None
