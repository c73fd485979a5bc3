"""What the table knows of each scan, as arrays: scale, site and labels as numbers."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from distunlearn.batch import NO_SEGMENTATION, Batch
from distunlearn.errors import UserError
from distunlearn.streaming.drawn import SEGMENTATION, Drawn
from distunlearn.streaming.manifest import Study

NO_VOLUME = torch.empty(0)


class Facts:
    """Puts stored values and what is known about their scans into a `Batch`."""

    def __init__(self, study: Study, target: tuple[str, ...]) -> None:
        self._drawn = Drawn(study) if SEGMENTATION in target else None
        target = tuple(name for name in target if name != SEGMENTATION)
        self._scale = study.table["scale"].to_numpy(dtype=np.float32)
        self._domain = study.table["domain"].to_numpy(dtype=np.int64)
        self._target = np.empty((len(study.table), len(target)), dtype=np.float32)
        for column, name in enumerate(target):
            self._target[:, column] = label_numbers(study, name)

    def of(self, rows: Int[np.ndarray, " b"]) -> Batch:
        """The batch of some rows of the table, still without their stored values and segmentations."""
        scale, domain, target = (torch.from_numpy(values[rows]) for values in (self._scale, self._domain, self._target))
        return Batch(NO_VOLUME, scale, torch.from_numpy(rows), domain, target, NO_SEGMENTATION.expand(len(rows), 0))

    def batch(self, known: Batch, volume: Tensor) -> Batch:
        """The batch of some rows, whose stored values are in `volume`."""
        if self._drawn is None:
            return known._replace(volume=volume)
        return known._replace(volume=volume, segmentation=self._drawn.read(known.scan.numpy()))


def label_numbers(study: Study, name: str) -> Float[np.ndarray, " rows"]:
    """A label of every scan as float32, NaN where missing; text becomes the index of the value among all, sorted.

    Raises:
        UserError: no scan has the label; or it holds text and other ranks hold some of the sites, so that the same
            index could mean another value there.
    """
    values = study.label(name)
    if values.dtype == np.float64:
        return values.to_numpy(dtype=np.float32)
    if len(study.hosted) < len(study.sites):
        raise UserError(
            f"target: label {name!r} holds text, which ranks of a federated run cannot number alike; write it as numbers"
        )
    codes = {value: index for index, value in enumerate(sorted(values.dropna().unique()))}
    return values.map(codes).to_numpy(dtype=np.float32)
