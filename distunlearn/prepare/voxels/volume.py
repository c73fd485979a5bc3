"""From a file to the volume that a network sees: turned, cropped, resized, thinned, normalised, quantised."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int16, Num, UInt8

from distunlearn.errors import UserError
from distunlearn.prepare.config import Orientation, Preprocessing
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.voxels.affine import canonical, voxel_sizes
from distunlearn.prepare.voxels.brain import extract_brain
from distunlearn.prepare.voxels.grid import WHOLE, head_box, resample
from distunlearn.prepare.voxels.nifti import Image, read_nifti
from distunlearn.prepare.voxels.segmentation import prepare_segmentation

LEAST_FILLED = 0.01
"""Least share of voxels that are not zero."""
MOST_FILLED = 0.95
"""Most of it when the volume is normalised over the brain."""


@dataclass(frozen=True)
class Volume:
    """A prepared scan, as it is stored."""

    stored: Int16[np.ndarray, "W H D"]
    scale: float
    """Stored to normalised value: `z = scale * stored`."""
    mean: float
    """Mean intensity before normalisation, in the units of the file."""
    sd: float
    voxel_mm: tuple[float, float, float]
    """Size of a voxel of the file along the volume's axes."""
    segmentation: UInt8[np.ndarray, "W H D"] | None = None

    @property
    def z(self) -> Float32[np.ndarray, "W H D"]:
        """The normalised volume, bit for bit as a reader of the shards gets it."""
        return self.stored.astype(np.float32) * np.float32(self.scale)


def prepare_volume(
    scan: Path | bytes,
    preprocessing: Preprocessing,
    *,
    orientation_from: Orientation = "agree",
    segmentation: Path | None = None,
) -> Volume:
    """Prepare one scan, in the paper's way by default (§3).

    Args:
        scan: a .nii or .nii.gz file, or the bytes of one.
        preprocessing: what to do.
        orientation_from: which affine to follow when sform and qform disagree.
        segmentation: a segmentation or mask on the scan's own grid, to be taken along.

    Raises:
        Refusal: the scan or its segmentation breaks a rule.
    """
    image = read_nifti(scan, orientation_from=orientation_from)
    voxels = _brain(canonical(image.voxels, image.affine), image, preprocessing)
    box = head_box(voxels) if preprocessing.crop == "head" else WHOLE
    values = resample(voxels[box], preprocessing.size, keep_every=preprocessing.keep_every)
    mean, sd = _moments(values, preprocessing.normalise)
    stored, scale = _quantise((values - np.float32(mean)) / np.float32(sd))
    labels = None
    if segmentation:
        drawn = read_nifti(segmentation, orientation_from=orientation_from)
        labels = prepare_segmentation(drawn, image, box, preprocessing)
    mm = voxel_sizes(image.affine)
    return Volume(stored, scale, image.slope * mean + image.intercept, image.slope * sd, mm, labels)


def prepare_scan(path: Path, preprocessing: dict[str, Any]) -> Float32[np.ndarray, "W H D"]:
    """Prepare a new scan exactly as the scans of a shard were.

    Args:
        path: a .nii or .nii.gz file.
        preprocessing: as stored in a manifest.

    Returns:
        The normalised volume, bit for bit what a shard of this scan would have given.

    Raises:
        UserError: the scan breaks a rule, or the preprocessing is not one that this version can do.
    """
    wanted = Preprocessing.read(preprocessing, "the preprocessing stored with the model")
    try:
        return prepare_volume(path, wanted).z
    except Refusal as refusal:
        raise UserError(f"{path}: {refusal.reason} (rule {refusal.rule})") from None


def _brain(voxels: Num[np.ndarray, "X Y Z"], image: Image, preprocessing: Preprocessing) -> Num[np.ndarray, "X Y Z"]:
    if preprocessing.brain_extraction == "none":
        return voxels
    kept = voxels.astype(np.float32)
    zero = np.float32(-image.intercept / image.slope)  # not every file stores zero as zero
    kept[~extract_brain((kept - zero) * np.float32(image.slope))] = zero
    return kept


def _moments(values: Float32[np.ndarray, "W H D"], over: str) -> tuple[float, float]:
    filled = values != 0
    share = float(filled.mean())
    if share < LEAST_FILLED:
        raise Refusal("empty", f"is zero in {1 - share:.1%} of its voxels; is it the right file?")
    if over == "brain":
        if share > MOST_FILLED:
            raise Refusal("not-extracted", "has no zero background to tell the brain by; extract brains first")
        values = values[filled]
    mean, sd = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    if not sd > 1e-6 * abs(mean):
        raise Refusal("constant", "has the same intensity everywhere; is it the right file?")
    return mean, sd


def _quantise(z: Float32[np.ndarray, "W H D"]) -> tuple[Int16[np.ndarray, "W H D"], float]:
    """int16 and the scale (exact in float32) that give `z` back to 1/65534 of its range."""
    limit = np.iinfo(np.int16).max
    scale = np.float32(np.abs(z).max() / limit)
    return np.rint(z / scale).clip(-limit, limit).astype(np.int16), float(scale)
