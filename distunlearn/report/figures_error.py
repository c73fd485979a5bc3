"""Figures of the error: a site (Table 1 drawn), by age (Fig. 4), calibration and age bias."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distunlearn.evaluate.measure import AGE
from distunlearn.evaluate.stage import PERSON
from distunlearn.evaluate.summary import FEWEST_PEOPLE
from distunlearn.report.drawing import INK, PALE, UNNAMED, blank, colour, legend, marker, name_ticks, stage_colour, wide
from distunlearn.report.record import RunRecord, StageRecord
from distunlearn.report.results import Row

Curve = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Middle of each bin, mean, standard error."""


def errors_by_site(rows: Sequence[Row], sites: Sequence[str]) -> Figure:
    """The error of every row at every site with 95% intervals; dashes mark that of one answer for everybody."""
    figure, axes = blank("", rows[0].measure.with_unit, size=wide(len(sites)))
    names = [row.name for row in rows]
    width = 0.8 / len(rows)
    for index, row in enumerate(rows):
        cells = {place: row.cells[site] for place, site in enumerate(sites) if "error" in row.cells.get(site, {})}
        x = np.array(list(cells)) + (index - (len(rows) - 1) / 2) * width
        error, low, high = (np.array([cell[key] for cell in cells.values()]) for key in ("error", "low", "high"))
        axes.bar(x, error, 0.9 * width, color=stage_colour(names, row.name), alpha=0.85, label=row.name)
        axes.errorbar(x, error, yerr=[error - low, high - error], fmt="none", color=INK, linewidth=1, capsize=2)
        if row.measure.constant:
            label = f"answering the {row.measure.constant_name}" if index == 0 else UNNAMED
            constant = [cell["constant_error"] for cell in cells.values()]
            axes.hlines(constant, x - width / 2, x + width / 2, color=PALE, linewidth=1.6, linestyle="--", label=label)
    name_ticks(axes, sites)
    legend(axes)
    return figure


def error_by_age(run: RunRecord, stage: StageRecord) -> Figure:
    """The paper's Fig. 4: the error of each test scan by age, with the mean of each ten years."""
    measure = stage.stage.predicted.measure
    return _by_age(run, stage, measure.with_unit, lambda table: pd.Series(measure.of(table), table.index))


def age_bias(run: RunRecord, stage: StageRecord) -> Figure:
    """Prediction minus age by age: a slope below zero is regression to the mean, lines apart are a scanner's offset."""
    figure = _by_age(run, stage, "prediction − age (years)", lambda table: table["prediction"] - table["target"])
    figure.axes[0].axhline(0, color=INK, linewidth=0.8)
    return figure


def calibration(run: RunRecord, stage: StageRecord) -> Figure:
    """Prediction by age with the line that fits each site; the dashed diagonal is perfect."""
    figure, axes = blank("age (years)", "predicted age (years)")
    table = _test(stage)
    for site, rows in _sites(table):
        slope, intercept = np.polyfit(rows["target"], rows["prediction"], 1)
        ends = np.array([rows["target"].min(), rows["target"].max()])
        shade = colour(run.sites, site)
        _dots(axes, run, site, rows["target"], rows["prediction"])
        axes.plot(ends, intercept + slope * ends, color=shade, linewidth=1.8, label=f"{site}: slope {slope:.2f}")
    low, high = table["target"].min(), table["target"].max()
    axes.plot([low, high], [low, high], color=INK, linewidth=0.9, linestyle="--")
    legend(axes)
    return figure


def _by_age(run: RunRecord, stage: StageRecord, y_label: str, value: Callable[[pd.DataFrame], pd.Series]) -> Figure:
    figure, axes = blank("age (years)", y_label)
    for site, rows in _sites(_test(stage)):
        values = value(rows)
        _dots(axes, run, site, rows[AGE], values)
        middle, mean, error = _binned(rows[AGE].to_numpy(float), values.to_numpy(float))
        shade = colour(run.sites, site)
        axes.plot(middle, mean, color=shade, linewidth=1.8, label=site)
        axes.fill_between(middle, mean - error, mean + error, color=shade, alpha=0.2, linewidth=0)
    legend(axes)
    return figure


def _dots(axes: Axes, run: RunRecord, site: str, x: pd.Series, y: pd.Series) -> None:
    style: dict[str, Any] = {"color": colour(run.sites, site), "marker": marker(run.sites, site)}
    axes.scatter(x, y, s=7, alpha=0.35, linewidths=0, rasterized=len(x) > 300, **style)


def _test(stage: StageRecord) -> pd.DataFrame:
    table = stage.stage.table
    known = [name for name in ("target", "prediction", AGE) if name in table]
    return table[table["split"] == "test"].dropna(subset=known)


def _sites(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Sites with enough people that a figure tells of none of them."""
    return [(str(site), rows) for site, rows in table.groupby("site") if rows[PERSON].nunique() >= FEWEST_PEOPLE]


def _binned(age: np.ndarray, value: np.ndarray, *, width: float = 10.0, fewest: int = 3) -> Curve:
    """Mean and standard error of each `width` years with at least `fewest` scans."""
    bins = np.floor(age / width)
    groups = [(age[bins == name], value[bins == name]) for name in np.unique(bins)]
    kept = [
        (ages.mean(), values.mean(), values.std(ddof=1) / np.sqrt(len(values)))
        for ages, values in groups
        if len(values) >= fewest
    ]
    middle, mean, error = np.array(kept).reshape(-1, 3).T
    return middle, mean, error
