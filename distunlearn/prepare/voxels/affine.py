"""Which way a scan lies: its affine, checked, and its array turned to right, anterior, superior."""

from typing import Any

import numpy as np
from jaxtyping import Float, Num
from nibabel.orientations import io_orientation

from distunlearn.prepare.config import DIRECTIONS, FORMS, Orientation
from distunlearn.prepare.refusal import Refusal

Affine = Float[np.ndarray, "4 4"]
AGREEMENT = 1e-3
"""How far the axes of sform and qform may differ, in voxels."""
ZOOMS_MM = (0.1, 20.0)
MAX_CONDITION = 1e3


def check_affine(header: Any, orientation_from: Orientation) -> Affine:
    """The affine (4, 4) of a header, voxel to world in mm.

    Raises:
        Refusal: there is none and no axes are stated for such files, it is unusable, or sform and qform disagree and no
            preference is given.
    """
    coded = {name: affine for name in ("sform", "qform") if (affine := _coded(header, name)) is not None}
    if not coded and orientation_from not in FORMS:
        return _stated(header, orientation_from)
    if not coded:
        raise Refusal(
            "orientation",
            "says nothing of its orientation (ANALYZE, or sform and qform codes of 0); if you know its axes, state them, "
            "e.g. --orientation-from LAS",
        )
    if orientation_from != "agree" and orientation_from in coded:
        affine = coded[orientation_from]
    else:
        affine = next(iter(coded.values()))
        _check_agreement(list(coded.values()))
    return affine


def canonical(voxels: Num[np.ndarray, "I J K"], affine: Affine) -> Num[np.ndarray, "X Y Z"]:
    """A view of `voxels` (I, J, K) as (right, anterior, superior); nothing is copied."""
    orientation = io_orientation(affine).astype(int)
    turned = voxels.transpose(np.argsort(orientation[:, 0]))
    flips = orientation[np.argsort(orientation[:, 0]), 1]
    return turned[tuple(slice(None, None, flip) for flip in flips)]


def _stated(header: Any, axes: str) -> Affine:
    """The affine of voxels whose axes go where the letters say, e.g. LAS: to the left, to the front, up."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(axes):
        row, sign = DIRECTIONS[letter]
        affine[row, axis] = sign * abs(float(header["pixdim"][axis + 1]))
    return _usable(affine, "pixdim")


def voxel_sizes(affine: Affine) -> tuple[float, float, float]:
    """Millimetres of a voxel along right, anterior, superior: the axes of `canonical`."""
    order = np.argsort(io_orientation(affine)[:, 0])
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))[order].round(4).tolist()
    return x, y, z


def _coded(header: Any, name: str) -> Affine | None:
    if f"{name}_code" not in header.keys() or int(header[f"{name}_code"]) <= 0:  # noqa: SIM118 - a header is no dict
        return None
    try:
        affine = np.asarray(getattr(header, f"get_{name}")(), dtype=float)
    except Exception:  # noqa: BLE001 - nibabel raises what it likes on an impossible quaternion
        raise Refusal("affine", f"has an impossible {name}; set it again") from None
    return _usable(affine, name)


def _usable(affine: Affine, name: str) -> Affine:
    if not np.isfinite(affine).all():
        raise Refusal("affine", f"has NaN or infinity in its {name}; set it again")
    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if zooms.min() < ZOOMS_MM[0] or zooms.max() > ZOOMS_MM[1]:
        raise Refusal(
            "zooms",
            f"has voxels of {', '.join(f'{z:.3g}' for z in zooms)} mm; {ZOOMS_MM[0]} to {ZOOMS_MM[1]} are believed",
        )
    if np.linalg.cond(affine[:3, :3] / zooms) > MAX_CONDITION:
        raise Refusal("affine", f"has a singular {name}; set it again")
    return affine


def _check_agreement(affines: list[Affine]) -> None:
    first, last = affines[0][:3, :3], affines[-1][:3, :3]
    zoom = np.sqrt((first**2).sum(axis=0)).min()
    if np.abs(first - last).max() > AGREEMENT * zoom:
        raise Refusal(
            "affines-disagree", "has an sform and a qform that disagree; say which to follow (--orientation-from)"
        )
