"""Figures of the scanner: t-SNE (Fig. 3), what probes tell beside their floors, travelling subjects."""

from collections.abc import Sequence
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
    SIZE,
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
    """The strongest probe of each row on each set with its interval; bars mark what age alone reaches, dots chance."""
    probed = [row for row in rows if row.probe]
    sets = [name for name in ("natural", "matched", "travelling") if any(name in row.tried for row in probed)]
    figure, axes = blank("", "balanced accuracy of the strongest probe", size=SIZE)
    if not sets:
        note(axes, "no probe was tried")
        return figure
    names = [row.name for row in rows]
    step = 0.7 / max(len(probed), 1)
    for place, name in enumerate(sets):
        for index, row in enumerate(probed):
            found = row.tried.get(name)
            if found is None:
                continue
            x = place + (index - (len(probed) - 1) / 2) * step
            best = found["strongest"]
            spread = [[max(best["value"] - best["low"], 0)], [max(best["high"] - best["value"], 0)]]
            label = row.name if name == sets[0] else UNNAMED
            axes.errorbar(
                x,
                best["value"],
                yerr=spread,
                fmt="o",
                color=stage_colour(names, row.name),
                markersize=6,
                capsize=3,
                label=label,
            )
            floor = "age with the model's error" if (place, index) == (0, 0) else UNNAMED
            axes.hlines(
                found["floor"]["label_with_error"]["value"],
                x - step / 2,
                x + step / 2,
                color=INK,
                linewidth=1.8,
                label=floor,
            )
    axes.axhline(probed[0].chance, color=PALE, linewidth=1, linestyle=":", label="chance")
    name_ticks(axes, sets)
    axes.set_ylim(0, 1.03)
    legend(axes)
    return figure


def travelling(rows: Sequence[Row]) -> Figure:
    """How much two scanners disagree on the same person's age, with intervals from resampling people."""
    seen = [row for row in rows if row.travellers]
    names = [row.name for row in rows]
    pairs = list(dict.fromkeys(pair for row in seen for pair in row.travellers["pairs"]))
    figure, axes = blank("", "disagreement on one person (years)", size=wide(len(pairs)))
    width = 0.8 / len(seen)
    for index, row in enumerate(seen):
        found = [row.travellers["pairs"][pair]["disagreement"] for pair in pairs]
        places = np.arange(len(pairs)) + (index - (len(seen) - 1) / 2) * width
        values = np.array([each["value"] for each in found])
        spread = np.abs(np.array([[each["low"] for each in found], [each["high"] for each in found]]) - values)
        axes.bar(places, values, 0.9 * width, color=stage_colour(names, row.name), alpha=0.85, label=row.name)
        axes.errorbar(places, values, yerr=spread, fmt="none", color=INK, linewidth=1, capsize=2)
    name_ticks(axes, [pair.replace("–", "\n– ") for pair in pairs])
    legend(axes)
    return figure


def tradeoff(rows: Sequence[Row]) -> Figure:
    """Error against how far the scanner is told beyond age: low and left is good."""
    figure, axes = blank("strongest probe beyond age (points)", "mean absolute error, mean over sites (years)")
    names = [row.name for row in rows]
    for row in rows:
        if row.main and row.mean_error is not None:
            excess = row.tried[row.main]["excess"]
            spread = [[100 * max(excess["value"] - excess["low"], 0)], [100 * max(excess["high"] - excess["value"], 0)]]
            style: dict[str, Any] = {
                "color": stage_colour(names, row.name),
                "fmt": marker(names, row.name),
                "label": row.name,
            }
            axes.errorbar(
                100 * excess["value"], row.mean_error, xerr=spread, capsize=2, markersize=6, linewidth=1, **style
            )
    axes.axvline(0, color=PALE, linewidth=1, linestyle=":")
    legend(axes)
    return figure
