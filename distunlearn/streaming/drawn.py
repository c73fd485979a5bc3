"""Segmentations beside the volumes, read when a batch is put together, each checked against its digest."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from jaxtyping import Int, Int16
from torch import Tensor

from distunlearn.errors import UserError
from distunlearn.streaming.manifest import Study
from distunlearn.streaming.table import NOT_DRAWN

SEGMENTATION = "segmentation"
"""Asked for among the labels, it brings the drawn volumes."""


class Drawn:
    """The segmentations of a study.

    Raises:
        UserError: there are none, or the shards are not on a file system.
    """

    def __init__(self, study: Study) -> None:
        files, self._root = url_to_fs(study.root)
        if not study.classes:
            raise UserError(f"{study.root}: no scan has a segmentation; run `distunlearn shard` with --segmentation")
        if study.access.stream is not None or not isinstance(files, LocalFileSystem):
            raise UserError(f"{study.root}: segmentations are read from a file system only; copy the shards to one")
        self._study = study

    def read(self, rows: Int[np.ndarray, " n"]) -> Int16[Tensor, "n W H D"]:
        """The classes at every voxel of some scans, -1 throughout those without a segmentation.

        Raises:
            UserError: one is damaged; it is named.
        """
        drawn = np.full((len(rows), *self._study.shape), -1, np.int16)
        for place, row in zip(drawn, rows.tolist(), strict=True):
            entry = self._study.table.iloc[row]
            if entry["segmentation_offset"] != NOT_DRAWN:
                place[...] = self._one(Path(self._root, entry["site"], entry["shard"]), entry)
        return torch.from_numpy(drawn)

    def _one(self, shard: Path, place: Any) -> np.ndarray:
        size = int(np.prod(self._study.shape))
        with shard.open("rb") as file:
            values = os.pread(file.fileno(), size, int(place["segmentation_offset"]))
        if xxhash.xxh3_128_hexdigest(values) != place["segmentation_xxh3"]:
            raise UserError(
                f"site {place['site']}: the segmentation of scan {place['key']} is damaged; copy its shard again"
            )
        return np.frombuffer(values, np.uint8).reshape(self._study.shape)
