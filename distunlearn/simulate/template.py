"""The average brain: MNI152 tissue maps and the geometry by which a brain ages, derived from them."""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from distunlearn.errors import UserError

MAPS = ("csf", "cortex", "deep", "white", "sulcal", "rim")
"""What `Template.maps` holds, each a fraction of the voxel, 0 to 1.

csf, cortex, deep, white   cerebrospinal fluid, cortical grey, deep grey (basal ganglia, thalamus) and white matter
sulcal                     the part of `cortex` that lies beside fluid and thins first
rim                        the part of `white` that lies around the ventricles, where lesions of age appear
"""
CENTRE = (0.0, -17.0, 5.0)
"""Middle of the brain in MNI millimetres: heads are scaled, pitched and placed around it."""
MARGIN_MM = 10.0
DEEP_CENTRE, DEEP_RADII = (0.0, -8.0, 4.0), (38.0, 40.0, 22.0)
"""An ellipsoid in MNI millimetres; the grey matter within it is called deep."""
REACH_MM = 11.0
"""How far from the ventricles' wall tissue still moves when they widen (one standard deviation)."""


@dataclass(frozen=True)
class Template:
    """Maps on a regular grid; `origin + spacing * index` is a position in MNI millimetres (RAS)."""

    spacing: float
    origin: tuple[float, float, float]
    maps: Float32[np.ndarray, "6 X Y Z"]
    push: Float32[np.ndarray, "3 x y z"]
    """Direction, 0 to 1 long, in which tissue moves as the ventricles widen; on every second point of the grid."""
    near: Bool[np.ndarray, "X Y Z"]
    """The brain and `MARGIN_MM` around it; nothing need be sampled elsewhere."""

    def index(self, points: Float32[np.ndarray, "3 N"]) -> Float32[np.ndarray, "3 N"]:
        """Positions in MNI millimetres as (fractional) grid indices."""
        return (points - np.array(self.origin, dtype=np.float32)[:, None]) / np.float32(self.spacing)


@lru_cache(maxsize=1)
def load(spacing: int) -> Template:
    """Read the template at `spacing` millimetres (a whole number, as the maps come at 1 mm).

    Raises:
        UserError: nilearn, whose wheel carries the maps, is not installed or has moved them.
    """
    brain = _coarse((_read("t1") > 0).astype(np.float32), spacing)  # the T1 map comes without its skull
    grey, white = (_coarse(_read(name) / 255, spacing) for name in ("gm", "wm"))
    csf = np.clip(brain - grey - white, 0, 1)
    inside = brain > 0.5
    origin = _affine()[:3, 3]
    wall = _distance_to_ventricles(csf, inside, spacing)
    deep = _ellipsoid(inside.shape, origin, spacing)
    sulci = ndimage.gaussian_filter(np.where(wall > 5, csf, 0), 3 / spacing)
    sulcal = grey * (1 - deep) * np.clip(sulci / 0.3, 0, 1)
    rim = white * np.exp(-np.clip(wall, 0, None) / 7)
    maps = np.stack([csf, grey * (1 - deep), grey * deep, white, sulcal, rim]).astype(np.float32)
    near = ndimage.distance_transform_edt(~inside) * spacing < MARGIN_MM
    return Template(float(spacing), tuple(origin.tolist()), maps, _push(wall, spacing), near)


def folder() -> Path:
    """Where nilearn's wheel keeps the maps.

    Raises:
        UserError: it is not installed.
    """
    spec = importlib.util.find_spec("nilearn")  # finds the wheel without importing it
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "simulate: its tissue maps come with nilearn, which is not installed; pip install distunlearn[simulate]"
        )
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


def _open(name: str) -> nib.Nifti1Image:
    path = folder() / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise UserError(
            f"simulate: this nilearn has no {path.name}; pip install distunlearn[simulate] brings one that has"
        )
    return nib.Nifti1Image.from_filename(path)


def _affine() -> np.ndarray:
    return np.asarray(_open("t1").affine)


def _read(name: str) -> np.ndarray:
    return np.asarray(_open(name).dataobj, dtype=np.float32)


def _coarse(values: np.ndarray, spacing: int) -> np.ndarray:
    """Every `spacing`-th voxel, blurred before by what the coarser grid cannot hold, so that sampling does not alias."""
    smooth = ndimage.gaussian_filter(values, 0.42 * np.sqrt(spacing**2 - 1)) if spacing > 1 else values
    return np.asarray(smooth[::spacing, ::spacing, ::spacing])


def _distance_to_ventricles(csf: np.ndarray, inside: np.ndarray, spacing: int) -> np.ndarray:
    """Millimetres to the wall of the ventricles, negative within: the largest fluid deep inside the brain."""
    depth = ndimage.distance_transform_edt(inside) * spacing
    parts, _ = ndimage.label((csf > 0.5) & (depth > 22))
    ventricles = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    outside, within = ndimage.distance_transform_edt(~ventricles), ndimage.distance_transform_edt(ventricles)
    return np.asarray((outside - within) * spacing)


def _ellipsoid(shape: tuple[int, ...], origin: np.ndarray, spacing: int) -> np.ndarray:
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    radius = sum(
        ((o + spacing * a - c) / r) ** 2 for a, o, c, r in zip(axes, origin, DEEP_CENTRE, DEEP_RADII, strict=True)
    )
    return np.asarray(1 / (1 + np.exp((np.sqrt(radius) - 1) / 0.06)))


def _push(wall: np.ndarray, spacing: int) -> np.ndarray:
    direction = np.stack(np.gradient(ndimage.gaussian_filter(wall, 2.0 / spacing)))
    length = np.maximum(np.linalg.norm(direction, axis=0), 1e-6)
    push = direction / length * np.exp(-0.5 * (wall / REACH_MM) ** 2)
    # Smoothed, as directions flip where two walls are equally near and a fold must not appear there.
    smooth = ndimage.gaussian_filter(push, (0, *[2.4 / spacing] * 3))
    return np.asarray(smooth[:, ::2, ::2, ::2], dtype=np.float32)
