"""Brain extraction by deepbet (Fisch et al. 2024; weights in its wheel), an extra that brings torch into the workers."""

import os
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from distunlearn.errors import UserError

THRESHOLD = 0.5


def extract_brain(voxels: Float32[np.ndarray, "X Y Z"]) -> Bool[np.ndarray, "X Y Z"]:
    """Which voxels of a T1-weighted head are brain.

    Args:
        voxels: in right, anterior, superior order.

    Raises:
        UserError: deepbet is not installed.
    """
    extractor = _extractor()
    mask = extractor.run_model(np.ascontiguousarray(voxels)) > THRESHOLD
    return np.asarray(extractor.postprocess(mask), dtype=bool)


@cache
def _extractor() -> Any:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there is a worker for every core already
    try:
        from deepbet import BrainExtraction  # type: ignore[import-not-found,unused-ignore] # an extra
    except ImportError:
        raise UserError("brain extraction needs deepbet; install it with `pip install distunlearn[brain]`") from None
    return BrainExtraction(no_gpu=True)
