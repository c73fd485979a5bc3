"""Figures of the scans themselves, as means over people: what each site's look like, and where the network looks."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distunlearn.evaluate.saliency import Pictures, read_pictures
from distunlearn.report.drawing import GREY, INK
from distunlearn.report.record import RunRecord

MOST_SITES = 8
"""Columns; more would be too small to see."""
SIDE = 1.35
"""Inches of a slice."""


def looks(run: RunRecord) -> dict[str, Figure]:
    """A column a site: its mean scan, and below it the saliency of every stage on one scale."""
    pictures = {stage.name: found for stage in run.stages if (found := read_pictures(stage.stage.folder))}
    if not pictures:
        return {}
    last = next(reversed(pictures.values()))
    sites = last.sites[:MOST_SITES]
    figure = Figure(figsize=(SIDE * len(sites) + 1.1, (SIDE + 0.1) * (len(pictures) + 1) + 0.35), layout="constrained")
    axes = figure.subplots(len(pictures) + 1, len(sites), squeeze=False)
    _scans(axes[0], last, sites)
    _saliency(figure, axes[1:], pictures, sites)
    for row, name in zip(axes[:, 0], ("mean scan", *pictures), strict=True):
        row.set_ylabel(name, fontsize=8.5, color=INK)
    return {"looks": figure}


def _scans(row: Sequence[Axes], pictures: Pictures, sites: Sequence[str]) -> None:
    for axes, site in zip(row, sites, strict=True):
        index = pictures.sites.index(site)
        axes.set_title(f"{site} ({pictures.people[index]})", fontsize=8.5, color=INK)
        _slice(axes, pictures.scan[index], "gray", GREY)


def _saliency(
    figure: Figure, rows: Sequence[Sequence[Axes]], pictures: Mapping[str, Pictures], sites: Sequence[str]
) -> None:
    top = float(np.quantile(np.stack([each.saliency for each in pictures.values()]), 0.995)) or 1.0
    shown = None
    for row, each in zip(rows, pictures.values(), strict=True):
        for axes, site in zip(row, sites, strict=True):
            shown = _slice(axes, each.saliency[each.sites.index(site)], "cividis", (0.0, top))
    bar = figure.colorbar(shown, ax=[axes for row in rows for axes in row], shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=7)


def _slice(axes: Axes, image: np.ndarray, colours: str, ends: tuple[float, float]) -> object:
    """A slice, front at the top."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes.imshow(image.T, cmap=colours, origin="lower", vmin=ends[0], vmax=ends[1], aspect="equal")
