"""Figures of what went in and how training went: ages (Fig. 2), losses, validation error."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distunlearn.evaluate.summary import FEWEST_PEOPLE
from distunlearn.report.drawing import COLOURS, INK, PALE, SIZE, blank, colour, legend, stage_colour
from distunlearn.report.record import RunRecord

LOSSES = {"task": "Task loss, eq. (1)", "domain": "Domain loss, eq. (2)", "confusion": "Confusion loss, eq. (3)"}


def ages(run: RunRecord) -> Figure:
    """The paper's Fig. 2: the ages of each site, every distribution with area one so that small sites can be seen."""
    figure, axes = blank("age (years)", "share of the site's scans a year")
    table = run.scans[run.scans["split"] != "travelling"].dropna(subset=["age"])
    if table.empty:
        return figure
    if len(run.sites) > len(COLOURS):
        return _ages_in_rows(run, table)
    edges = np.arange(np.floor(table["age"].min() / 4) * 4, table["age"].max() + 4, 4)
    for site in run.sites:
        values = table.loc[table["site"] == site, "age"].to_numpy(float)
        if len(values) >= FEWEST_PEOPLE:
            style: dict[str, Any] = {"color": colour(run.sites, site), "density": True, "bins": edges}
            axes.hist(values, alpha=0.18, **style)
            axes.hist(values, histtype="step", linewidth=1.6, label=f"{site} ({len(values)})", **style)
    legend(axes)
    return figure


def _ages_in_rows(run: RunRecord, table: pd.DataFrame) -> Figure:
    """A row a site, where distributions above each other could not be told apart: 5, 25, 50, 75 and 95 in a hundred."""
    ages = {site: table.loc[table["site"] == site, "age"].to_numpy(float) for site in run.sites}
    shown = {f"{site} ({len(values)})": values for site, values in ages.items() if len(values) >= FEWEST_PEOPLE}
    figure, axes = blank("age (years)", "", size=(SIZE[0], 0.19 * len(shown) + 0.7))
    for place, values in enumerate(shown.values()):
        least, low, middle, high, most = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        axes.plot([least, most], [place, place], color=PALE, linewidth=1)
        axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=5, solid_capstyle="butt")
        axes.plot(middle, place, "|", color=INK, markersize=8)
    axes.set_yticks(range(len(shown)), list(shown), fontsize=7)
    axes.invert_yaxis()
    return figure


def losses(run: RunRecord) -> dict[str, Figure]:
    """One figure a loss over the steps of all stages, with what a domain head reaches that knows nothing."""
    figures = {}
    for name, title in LOSSES.items():
        key = f"train/{name}"
        if key in run.metrics:
            figure, axes = blank("step", title)
            rows = run.metrics.dropna(subset=[key])
            for stage in run.stages:
                part = rows[rows["stage"] == stage.name]
                shade = stage_colour([stage.name for stage in run.stages], stage.name)
                axes.plot(part["step"], part[key], color=shade, linewidth=1.3, label=stage.name)
            if name != "task":
                sites = len(run.last.stage.sites)
                axes.axhline(np.log(sites), color=PALE, linewidth=1, linestyle=":", label=f"knows nothing: ln {sites}")
            legend(axes)
            figures[f"loss/{name}"] = figure
    return figures


def validation(run: RunRecord) -> dict[str, Figure]:
    """The error of each site's validation scans while training."""
    measure = run.last.stage.predicted.measure
    kind = measure.name.lower().replace(" ", "_")
    keys = {site: f"val/{kind}/{site}" for site in run.sites if f"val/{kind}/{site}" in run.metrics}
    if not keys:
        return {}
    figure, axes = blank("step", f"validation {measure.with_unit}")
    for site, key in keys.items():
        rows = run.metrics.dropna(subset=[key])
        axes.plot(rows["step"], rows[key], color=colour(run.sites, site), linewidth=1.4, marker=".", label=site)
    for stage in run.stages[1:]:
        start = _first_step(run.metrics, stage.name)
        if start is not None:
            axes.axvline(start, color=PALE, linewidth=1, linestyle=":")
            axes.text(start, axes.get_ylim()[1], f" {stage.name}", fontsize=7.5, color=PALE, va="top")
    _mark_kept(run, axes)
    legend(axes)
    return {"validation": figure}


def _mark_kept(run: RunRecord, axes: Axes) -> None:
    """A line at the epoch whose weights a stage kept, where those are not its last."""
    if "kept/epoch" not in run.metrics:
        return
    for _, line in run.metrics.dropna(subset=["kept/epoch"]).iterrows():
        epoch = (run.metrics["stage"] == line["stage"]) & (run.metrics["epoch"] == line["kept/epoch"])
        kept = run.metrics[epoch & run.metrics["kept/epoch"].isna()]
        axes.axvline(float(kept["step"].max()), color=INK, linewidth=1, label=f"kept by {line['stage']}")


def _first_step(metrics: pd.DataFrame, stage: str) -> float | None:
    steps = metrics.loc[metrics["stage"] == stage, "step"]
    return None if steps.empty else float(steps.min())
