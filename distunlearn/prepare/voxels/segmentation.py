"""Segmentations and masks, taken along with their scan: same box, same grid, nearest neighbour."""

import numpy as np
from jaxtyping import UInt8

from distunlearn.prepare.config import Preprocessing
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.voxels.affine import canonical
from distunlearn.prepare.voxels.grid import Box, pick_nearest
from distunlearn.prepare.voxels.nifti import Image

SAME_GRID = 0.1
"""How far a corner of a segmentation's grid may be from its scan's, in voxels."""
RULE = "segmentation"


def prepare_segmentation(
    drawn: Image, scan: Image, box: Box, preprocessing: Preprocessing
) -> UInt8[np.ndarray, "W H D"]:
    """Bring a segmentation onto the grid of its prepared scan.

    Args:
        drawn: the segmentation, whole numbers 0 to 255.
        scan: the image that it was drawn on, on the same grid in the world, stored in any order of axes.
        box: the part of the scan that was taken, in canonical axes.
        preprocessing: what was done to the scan.

    Raises:
        Refusal: it lies on another grid, or does not hold whole numbers 0 to 255.
    """
    labels = canonical(drawn.voxels, drawn.affine)
    if labels.shape != canonical(scan.voxels, scan.affine).shape or not _same_corners(drawn, scan):
        raise Refusal(RULE, "has a segmentation on another grid than its own; resample that to the scan first")
    picked = pick_nearest(labels[box], preprocessing.size, keep_every=preprocessing.keep_every)
    values = picked.astype(np.float64) * drawn.slope + drawn.intercept
    whole = np.rint(values)
    if np.abs(values - whole).max() > 1e-3 or whole.min() < 0 or whole.max() > 255:
        raise Refusal(
            RULE, "has a segmentation with values other than whole numbers 0 to 255; is it a probability map?"
        )
    return np.ascontiguousarray(whole.astype(np.uint8))


def _same_corners(one: Image, other: Image) -> bool:
    """Whether two images fill the same box of the world, whatever the order of their axes."""
    first, second = _bounds(one), _bounds(other)
    voxel = np.sqrt((other.affine[:3, :3] ** 2).sum(axis=0)).min()
    return bool(np.abs(first - second).max() <= SAME_GRID * voxel)


def _bounds(image: Image) -> np.ndarray:
    last = np.array(image.voxels.shape) - 1
    corners = np.array([[i, j, k, 1] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
    world = corners @ image.affine.T
    return np.stack([world[:, :3].min(axis=0), world[:, :3].max(axis=0)])
