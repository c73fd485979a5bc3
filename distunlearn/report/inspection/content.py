"""What the stored scans look like: a few to show, the mean of each site, and those that are unlike their site."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from distunlearn.progress import progress
from distunlearn.shard_format import Manifest

SHOWN = 6
"""Scans a site in the picture."""
FAR = 6.0
"""Robust standard deviations from the site's median beyond which a scan is called odd."""
FEWEST = 10
"""Scans a site below which nothing is called odd."""
STEP = 4
"""Every which voxel, along each axis, is looked at when scans are compared; of features every one."""


@dataclass(frozen=True)
class Outlier:
    """A scan that is unlike its site."""

    site: str
    key: str
    why: str


@dataclass(frozen=True)
class Content:
    """What was seen."""

    read: dict[str, int]
    """Scans read, by site."""
    shown: dict[str, list[np.ndarray]]
    """A few normalised scans of each site."""
    means: dict[str, np.ndarray]
    """The mean scan of each site."""
    outliers: list[Outlier]


def read_content(root: Path, table: pd.DataFrame, manifests: Mapping[str, Manifest], *, most: int) -> Content:
    """Read scans of every site, at most `most` each, spread evenly over its table."""
    content = Content({}, {}, {}, [])
    picked = {site: _spread(table[table["site"] == site], most) for site in manifests}
    with progress("look at scans", sum(map(len, picked.values())), "scans") as advance:
        for site, rows in picked.items():
            _read_site(root / site, rows, manifests[site], content)
            advance(len(rows))
    return content


def _read_site(folder: Path, rows: pd.DataFrame, manifest: Manifest, content: Content) -> None:
    site, shown, step = manifest.site, set(_spread(rows, SHOWN)["key"]), STEP if manifest.kind == "volume" else 1
    total, small = np.zeros(manifest.shape), []
    content.shown[site] = []
    for row in rows.itertuples():
        values = _read(folder / str(row.shard), row, manifest)
        total += values
        small.append(values[tuple(slice(None, None, step) for _ in values.shape)].ravel())
        if row.key in shown:
            content.shown[site].append(values)
    content.read[site] = len(rows)
    content.means[site] = total / max(len(rows), 1)
    content.outliers.extend(_odd(manifest, rows, np.array(small)))


def _spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]


def _read(path: Path, row: object, manifest: Manifest) -> Float[np.ndarray, "..."]:
    offset, length, scale = (getattr(row, name) for name in ("offset", "bytes", "scale"))
    with path.open("rb") as stream:
        stream.seek(offset)
        stored = np.frombuffer(stream.read(length), np.dtype(manifest.dtype).newbyteorder("<"))
    return stored.reshape(manifest.shape).astype(np.float32) * np.float32(scale)


def _odd(manifest: Manifest, rows: pd.DataFrame, small: Float[np.ndarray, "n V"]) -> list[Outlier]:
    """Scans whose intensities, and whose voxels or features, are far from those of their site."""
    if len(rows) < FEWEST:
        return []
    parts = "voxels" if manifest.kind == "volume" else "features"
    measures = {
        f"its {parts} are unlike the others'": (_unlike(small, manifest.kind), True),
        "its intensities are far from the others' (mean)": (rows["mean"].to_numpy(float), False),
        "its intensities are far from the others' (spread)": (rows["sd"].to_numpy(float), False),
    }
    return [
        Outlier(manifest.site, str(rows["key"].iloc[n]), why)
        for why, (values, only_above) in measures.items()
        for n in np.flatnonzero(_far(values, only_above=only_above))
    ]


def _unlike(small: Float[np.ndarray, "n V"], kind: str) -> Float[np.ndarray, " n"]:
    """How far each scan is from the median of its site: the mean over voxels, or over features in units of their own."""
    away = np.abs(small - np.median(small, axis=0))
    if kind == "features":
        spread = np.median(away, axis=0)
        away = away[:, spread > 0] / spread[spread > 0]
    return np.asarray(away.mean(axis=1))


def _far(values: Float[np.ndarray, " n"], *, only_above: bool) -> Bool[np.ndarray, " n"]:
    away = values - np.median(values)
    spread = 1.4826 * np.median(np.abs(away))
    if spread == 0:
        return np.zeros(len(values), dtype=bool)
    return np.asarray((away if only_above else np.abs(away)) / spread > FAR)
