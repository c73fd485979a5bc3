"""From a checked image to the volume that a network sees: turned, resized, thinned, normalised, quantised."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int16

from distunlearn.errors import UserError
from distunlearn.prepare.affine import canonical
from distunlearn.prepare.config import Orientation, Preprocessing
from distunlearn.prepare.nifti import read_nifti
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.resample import crop_to_head, resample

LEAST_FILLED = 0.01
"""Least share of voxels that are not zero."""


@dataclass(frozen=True)
class Stats:
    """What was divided out of a volume."""

    scale: float
    """Stored int16 to normalised value: `z = scale * stored`."""
    mean: float
    """Mean intensity before normalisation, in the units of the file."""
    sd: float


def prepare_volume(
    scan: Path | bytes, preprocessing: Preprocessing, *, orientation_from: Orientation = "agree"
) -> tuple[Int16[np.ndarray, "W H D"], Stats]:
    """Prepare one scan, in the paper's way by default (§3).

    Args:
        scan: a .nii or .nii.gz file, or the bytes of one.
        preprocessing: what to do.
        orientation_from: which affine to follow when sform and qform disagree.

    Returns:
        The volume as it is stored, (W, H, D) int16, and what was divided out.

    Raises:
        Refusal: the scan breaks a rule.
    """
    image = read_nifti(scan, orientation_from=orientation_from)
    voxels = canonical(image.voxels, image.affine)
    if preprocessing.crop == "head":
        voxels = crop_to_head(voxels)
    values = resample(voxels, preprocessing.size, keep_every=preprocessing.keep_every)
    mean, sd = _moments(values, preprocessing.normalise)
    stored, scale = quantise((values - np.float32(mean)) / np.float32(sd))
    return stored, Stats(scale, image.slope * mean + image.intercept, image.slope * sd)


def quantise(z: Float[np.ndarray, "*axes"]) -> tuple[Int16[np.ndarray, "*axes"], float]:
    """int16 and the scale (exact in float32) that give `z` back to 1/65534 of its range."""
    scale = np.float32(np.abs(z).max() / np.iinfo(np.int16).max)
    limit = np.iinfo(np.int16).max
    return np.rint(z / scale).clip(-limit, limit).astype(np.int16), float(scale)


def prepare_scan(path: Path, preprocessing: dict[str, Any]) -> Float32[np.ndarray, "W H D"]:
    """Prepare a new scan exactly as the scans of a shard were.

    Args:
        path: a .nii or .nii.gz file.
        preprocessing: as stored in a manifest.

    Returns:
        The normalised volume (W, H, D) float32, bit for bit what a shard of this scan would have given.

    Raises:
        UserError: the scan breaks a rule, or the preprocessing is not one that this version can do.
    """
    wanted = Preprocessing.read(preprocessing, "the preprocessing stored with the model")
    try:
        stored, stats = prepare_volume(path, wanted)
    except Refusal as refusal:
        raise UserError(f"{path}: {refusal.reason} (rule {refusal.rule})") from None
    return stored.astype(np.float32) * np.float32(stats.scale)


def _moments(values: Float32[np.ndarray, "W H D"], over: str) -> tuple[float, float]:
    filled = values != 0
    share = float(filled.mean())
    if share < LEAST_FILLED:
        raise Refusal("empty", f"is zero in {1 - share:.1%} of its voxels; is it the right file?")
    if over == "brain":
        if share > 0.95:
            raise Refusal(
                "not-extracted", "has no zero background, so there is no brain to normalise over; extract brains first"
            )
        values = values[filled]
    mean, sd = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    if not sd > 1e-6 * abs(mean):
        raise Refusal("constant", "has the same intensity everywhere")
    return mean, sd
