"""Figures of an inspection: labels a site (the paper's Fig. 2), and what the scans look like."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from distunlearn.report.drawing import GREY, INK, PALE, blank, colour, legend
from distunlearn.report.inspection.look import Inspection
from distunlearn.report.inspection.text import edges

FEW_SITES = 6
"""Up to so many distributions can be told apart in one figure."""
MOST_ROWS = 40


def distributions(found: Inspection) -> Figure:
    """The label of each site: overlaid with area one for a few sites, one line a site for many."""
    names = [site.site for site in found.sites]
    if len(found.sites) > FEW_SITES:
        return _one_line_a_site(found)
    figure, axes = blank(found.label, f"share of the site's scans a unit of {found.label}", size=(4.6, 3.3))
    for site in found.sites:
        if len(site.values):
            shade = colour(names, site.site)
            axes.hist(site.values, edges(found, 20).tolist(), density=True, alpha=0.18, color=shade)
            axes.hist(site.values, edges(found, 20).tolist(), density=True, histtype="step", linewidth=1.6, color=shade,
                      label=f"{site.site} ({len(site.values)})")  # fmt: skip
    legend(axes)
    return figure


def _one_line_a_site(found: Inspection) -> Figure:
    figure, axes = blank(found.label, "", size=(6.6, 0.6 + 0.2 * len(found.sites)))
    ordered = sorted((site for site in found.sites if len(site.values)), key=lambda site: float(np.median(site.values)))
    for place, site in enumerate(ordered):
        low, first, middle, third, high = np.percentile(site.values, (0, 25, 50, 75, 100))
        axes.plot([low, high], [place, place], color=PALE, linewidth=1)
        axes.plot([first, third], [place, place], color=colour(["all"], "all"), linewidth=5, solid_capstyle="butt")
        axes.plot([middle], [place], marker="|", color=INK, markersize=9, markeredgewidth=1.6)
    axes.set_yticks(range(len(ordered)), [f"{site.site} ({len(site.values)})" for site in ordered], fontsize=7)
    return figure


def mosaic(found: Inspection) -> Figure:
    """A row a site: the middle axial slice of a few scans, then the mean scan from above, from the front, from the side."""
    sites = [site.site for site in found.sites][:MOST_ROWS]
    columns = max(len(found.content.shown[site]) for site in sites) + 3
    figure = Figure(figsize=(1.15 * columns, 1.28 * len(sites)), facecolor="black")
    axes = figure.subplots(len(sites), columns, squeeze=False)
    for row, site in zip(axes, sites, strict=True):
        scans = found.content.shown[site]
        mean = found.content.means[site]
        images = [_axial(scan) for scan in scans] + [None] * (columns - 3 - len(scans))
        images += [_axial(mean), mean[:, mean.shape[1] // 2, :], mean[mean.shape[0] // 2, :, :]]
        for place, image in zip(row, images, strict=True):
            place.set_axis_off()
            if image is not None:
                place.imshow(image.T, cmap="gray", origin="lower", vmin=GREY[0], vmax=GREY[1], aspect=_square(image))
        row[0].set_title(site, color="white", fontsize=7.5, loc="left", pad=2)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.16 / (1.28 * len(sites)), wspace=0.03, hspace=0.16)
    return figure


def _axial(scan: Float[np.ndarray, "W H D"]) -> Float[np.ndarray, "W H"]:
    return scan[:, :, scan.shape[2] // 2]


def _square(image: Float[np.ndarray, "A B"]) -> float:
    """The aspect that makes any slice a square: the paper's volumes are thinned in one direction."""
    return float(image.shape[0] / image.shape[1])
