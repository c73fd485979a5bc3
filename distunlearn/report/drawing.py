"""How every figure of the report looks: size, type, and colours that colour-blind readers can tell apart."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito's, without the yellow, which white paper swallows."""
STAGE_COLOURS = ("#8c8c8c", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#009E73", "#0072B2")
"""Stages begin with those that few sites have, so that a colour does not mean both."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
UNNAMED = "_"
"""The label of what a legend leaves out."""
GREY = (-1.0, 3.0)
"""Normalised intensities of scans that are shown black and white."""
INK, PALE = "#1a1a1a", "#6b6b6b"
SIZE = (4.0, 3.2)
"""Inches; two stand side by side on paper, three on a wide screen, one on a phone."""


def colour(names: Sequence[str], name: str) -> str:
    """The colour of a site, the same in every figure of a report."""
    return COLOURS[names.index(name) % len(COLOURS)]


def stage_colour(names: Sequence[str], name: str) -> str:
    """The colour of a stage, or of a row of the results, the same in every figure of a report."""
    return STAGE_COLOURS[names.index(name) % len(STAGE_COLOURS)]


def marker(names: Sequence[str], name: str) -> str:
    """Its marker; with more sites than colours, the pair of both still tells them apart."""
    index = names.index(name)
    return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def blank(x_label: str, y_label: str, *, size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    """An empty figure with its axes labelled."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.set_xlabel(x_label, fontsize=9.5, color=INK)
    axes.set_ylabel(y_label, fontsize=9.5, color=INK)
    return figure, axes


def legend(axes: Axes) -> None:
    """A legend above the axes, where it hides nothing; none where nothing is named."""
    labels = axes.get_legend_handles_labels()[1]
    entries = len(labels)
    if entries:
        columns = 3 if max(map(len, labels)) < 13 else 2
        place: dict[str, Any] = {
            "loc": "lower center",
            "bbox_to_anchor": (0.5, 1.0),
            "ncols": min(entries, columns),
            "borderaxespad": 0.3,
        }
        axes.legend(
            fontsize=8.5 if entries < 10 else 6.5,
            frameon=False,
            markerscale=1.4,
            handlelength=1.4,
            columnspacing=1.2,
            **place,
        )


def note(axes: Axes, text: str) -> None:
    """Words in the middle of axes that have nothing to show."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=9, color=PALE, wrap=True)
    axes.set_axis_off()


def wide(places: int) -> tuple[float, float]:
    """The size for bars at so many places, at most the width of the page."""
    return (min(max(SIZE[0], 0.55 * places + 1), 11.0), SIZE[1])


def name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Name the places on the x axis, aslant where there are many."""
    axes.set_xticks(range(len(names)), names, fontsize=8.5)
    if len(names) > 4:
        axes.tick_params(axis="x", labelrotation=35)
