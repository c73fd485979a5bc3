"""Figures of the scans themselves, as means over people: what each site's look like, and where the network looks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from distunlearn.evaluate.saliency import read_pictures
from distunlearn.evaluate.sets import FEWEST_PEOPLE
from distunlearn.report.drawing import GREY, INK, PALE
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
    sites = run.sites[:MOST_SITES]
    figure = Figure(figsize=(SIDE * len(sites) + 0.9, (SIDE + 0.25) * (len(pictures) + 1)), layout="constrained")
    axes = figure.subplots(len(pictures) + 1, len(sites), squeeze=False)
    top = float(np.quantile(np.stack([each.saliency for each in pictures.values()]), 0.995)) or 1.0
    last = next(reversed(pictures.values()))
    scans, saliency = {"cmap": "gray", "clim": GREY}, {"cmap": "cividis", "clim": (0.0, top)}
    rows = [("mean scan", last, last.scan, scans)]
    rows += [(name, found, found.saliency, saliency) for name, found in pictures.items()]
    for row, (name, found, images, style) in zip(axes, rows, strict=True):
        for place, site in zip(row, sites, strict=True):
            _slice(place, images[found.sites.index(site)] if site in found.sites else None, style)
        row[0].set_ylabel(name, fontsize=8.5, color=INK)
    for place, site in zip(axes[0], sites, strict=True):
        people = f" ({last.people[last.sites.index(site)]})" if site in last.sites else ""
        place.set_title(f"{site}{people}", fontsize=8.5, color=INK)
    scale = ScalarMappable(Normalize(0.0, top), "cividis")
    bar = figure.colorbar(scale, ax=axes, shrink=0.5, pad=0.02, aspect=30)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("saliency: target's units a SD of intensity", fontsize=7.5, color=INK)
    return {"looks": figure}


def _slice(axes: Axes, image: np.ndarray | None, style: Mapping[str, Any]) -> None:
    """A slice, front at the top; words where a site has none."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if image is None:
        axes.text(0.5, 0.5, f"fewer than\n{FEWEST_PEOPLE} people", ha="center", va="center", fontsize=7.5, color=PALE)
    else:
        axes.imshow(image.T, origin="lower", aspect="equal", **style)
