"""Segmentations beside the volumes, read when a batch is put together, each checked against its digest."""

import numpy as np
import torch
import xxhash
from fsspec.core import url_to_fs
from jaxtyping import Int, Int16
from torch import Tensor

from distunlearn.errors import UserError
from distunlearn.streaming.manifest import Study
from distunlearn.streaming.remote import fetch
from distunlearn.streaming.table import NOT_DRAWN

SEGMENTATION = "segmentation"
"""Asked for among the labels, it brings the drawn volumes."""


class Drawn:
    """The segmentations of a study.

    Raises:
        UserError: there are none, or the shards can only be read from front to end.
    """

    def __init__(self, study: Study) -> None:
        if not study.classes:
            raise UserError(f"{study.root}: no scan has a segmentation; run `distunlearn shard` with --segmentation")
        if study.access.stream is not None:
            raise UserError(
                f"{study.root}: segmentations cannot be read from a stream; copy the shards to a disk, or to a server that knows byte ranges"
            )
        self._files, root = url_to_fs(study.root)
        table = study.table
        self._shape, self._size = study.shape, int(np.prod(study.shape))
        self._paths = (root.rstrip("/") + "/" + table["site"] + "/" + table["shard"]).tolist()
        self._offsets: list[int] = table["segmentation_offset"].tolist()
        self._digests: list[str] = table["segmentation_xxh3"].tolist()
        self._names = (table["site"] + ": the segmentation of scan " + table["key"]).tolist()

    def read(self, rows: Int[np.ndarray, " n"]) -> Int16[Tensor, "n W H D"]:
        """The classes at every voxel of some scans, -1 throughout those without a segmentation.

        Raises:
            UserError: one is damaged; it is named.
        """
        drawn = np.full((len(rows), *self._shape), -1, np.int16)
        there = [(place, row) for place, row in enumerate(rows.tolist()) if self._offsets[row] != NOT_DRAWN]
        contents = fetch(self._files, [(self._paths[row], self._offsets[row]) for _, row in there], self._size)
        for (place, row), content in zip(there, contents, strict=True):
            if isinstance(content, Exception) or xxhash.xxh3_128_hexdigest(content) != self._digests[row]:
                raise UserError(f"site {self._names[row]} is damaged; copy its shard again")
            drawn[place] = np.frombuffer(content, np.uint8).reshape(self._shape)
        return torch.from_numpy(drawn)
