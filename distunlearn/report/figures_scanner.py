"""Figures of the scanner: t-SNE (Fig. 3), what probes tell beside their floors, travelling subjects."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from distunlearn.evaluate.sets import held_out_splits
from distunlearn.evaluate.stage import PERSON
from distunlearn.evaluate.summary import FEWEST_PEOPLE
from distunlearn.report.drawing import (
    INK,
    PALE,
    UNNAMED,
    blank,
    colour,
    legend,
    marker,
    name_ticks,
    note,
    stage_colour,
    wide,
)
from distunlearn.report.record import RunRecord, StageRecord
from distunlearn.report.results import Row

MOST_DOTS = 1500
FEWEST_DOTS = 20


def tsne(run: RunRecord, stage: StageRecord) -> Figure:
    """The paper's Fig. 3: held-out features in two dimensions, by site; always the same for the same features."""
    figure, axes = blank("", "", size=(4.0, 3.8))
    table = stage.stage.table
    rows = np.flatnonzero(table["split"].isin(held_out_splits(stage.stage)) & table["site"].isin(stage.stage.sites))
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_DOTS])
    features = stage.stage.features[rows]
    if len(rows) < FEWEST_DOTS or not np.isfinite(features).all():
        note(axes, "too few held-out scans" if len(rows) < FEWEST_DOTS else "features are not finite")
        return figure
    places = _embedded(features)
    for site in stage.stage.sites:
        here = table["site"].to_numpy()[rows] == site
        if table[PERSON].to_numpy()[rows][here].size >= FEWEST_PEOPLE:
            style: dict[str, Any] = {"color": colour(run.sites, site), "marker": marker(run.sites, site)}
            across, up = places[here].T
            axes.scatter(across, up, s=11, alpha=0.75, linewidths=0, label=site, rasterized=len(rows) > 600, **style)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(PALE)
    legend(axes)
    return figure


def _embedded(features: Float[ndarray, "n F"]) -> Float[ndarray, "n 2"]:
    standard = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    if not standard.any():  # a collapsed encoder: one point
        return np.zeros((len(features), 2))
    narrow = PCA(min(50, *features.shape), random_state=0).fit_transform(standard)
    start = "pca" if narrow.shape[1] > 1 else "random"
    embedding = TSNE(2, perplexity=min(30, len(features) / 4), init=start, max_iter=500, random_state=0)
    with threadpool_limits(limits=1):
        places: ndarray = embedding.fit_transform(narrow)
    return places.astype(float)


def scanner_accuracy(rows: Sequence[Row]) -> Figure:
    """The strongest probe of each row on each set with its interval; bars mark what age with the model's error reaches, dots chance."""
    probed, names = [row for row in rows if row.tried], [row.name for row in rows]
    sets = list(dict.fromkeys(name for row in probed for name in row.tried))
    figure, axes = blank("", "balanced accuracy of the strongest probe")
    width = 0.7 / len(probed)
    for index, row in enumerate(probed):
        here = [place for place, name in enumerate(sets) if name in row.tried]
        found = [row.tried[sets[place]] for place in here]
        x = np.array(here) + (index - (len(probed) - 1) / 2) * width
        value, spread = _with_spread([each["strongest"] for each in found])
        shade = stage_colour(names, row.name)
        axes.errorbar(x, value, yerr=spread, fmt="o", color=shade, markersize=6, capsize=3, label=row.name)
        left, right = x - width / 2, x + width / 2
        floor = [each["floor"]["label_with_error"]["value"] for each in found]
        names_of_lines = ("age with the model's error", "chance") if row is probed[0] else (UNNAMED, UNNAMED)
        axes.hlines(floor, left, right, color=INK, linewidth=1.6, label=names_of_lines[0])
        axes.hlines([each["chance"] for each in found], left, right, color=PALE, linestyle=":", label=names_of_lines[1])
    name_ticks(axes, [_of_sites(name, probed) for name in sets])
    axes.set_ylim(0, 1.03)
    legend(axes)
    return figure


def _of_sites(name: str, rows: Sequence[Row]) -> str:
    """The set's name, and of how many sites it is where some are left out."""
    found = next(row.tried[name] for row in rows if name in row.tried)
    return f"{name}\n{len(found['scans'])} sites" if found["left_out"] else name


def _with_spread(intervals: Sequence[Mapping[str, Any]]) -> tuple[Float[ndarray, " n"], Float[ndarray, "2 n"]]:
    """Values, and how far their intervals reach below and above."""
    value, low, high = (np.array([each[end] for each in intervals]) for end in ("value", "low", "high"))
    return value, np.maximum(np.stack([value - low, high - value]), 0)


def travelling(rows: Sequence[Row]) -> Figure:
    """How much two scanners disagree on the same person's age, with intervals from resampling people."""
    seen, names = [row for row in rows if row.travellers], [row.name for row in rows]
    pairs = list(dict.fromkeys(pair for row in seen for pair in row.travellers["pairs"]))
    figure, axes = blank("", _apart_label(seen[0]), size=wide(len(pairs)))
    width = 0.8 / len(seen)
    for index, row in enumerate(seen):
        here = [place for place, pair in enumerate(pairs) if pair in row.travellers["pairs"]]
        x = np.array(here) + (index - (len(seen) - 1) / 2) * width
        value, spread = _with_spread([row.travellers["pairs"][pairs[place]]["disagreement"] for place in here])
        axes.bar(x, value, 0.9 * width, color=stage_colour(names, row.name), alpha=0.85, label=row.name)
        axes.errorbar(x, value, yerr=spread, fmt="none", color=INK, linewidth=1, capsize=2)
    name_ticks(axes, [pair.replace("–", "\n– ") for pair in pairs])
    legend(axes)
    return figure


def _apart_label(row: Row) -> str:
    unit = f" ({row.unit})" if row.unit else ""
    return f"two predictions of one person apart{unit}"


def tradeoff(rows: Sequence[Row]) -> Figure:
    """Error against how far the scanner is told beyond age: low and left is good."""
    figure, axes = blank("strongest probe beyond the label (points)", f"{rows[0].measure.with_unit}, mean over sites")
    names = [row.name for row in rows]
    for row in rows:
        if row.main and row.mean_error is not None:
            value, spread = _with_spread([row.tried[row.main]["excess"]])
            style: dict[str, Any] = {
                "color": stage_colour(names, row.name),
                "fmt": marker(names, row.name),
                "label": row.name,
            }
            axes.errorbar(
                100 * value, [row.mean_error], xerr=100 * spread, capsize=2, markersize=6, linewidth=1, **style
            )
    axes.axvline(0, color=PALE, linewidth=1, linestyle=":")
    legend(axes)
    return figure
