"""Bytes of scans straight into a batch buffer, each checked against its digest before anybody can train on it."""

import os
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from jaxtyping import Int

from distunlearn.streaming.manifest import Study
from distunlearn.streaming.places import Places
from distunlearn.streaming.remote import RangeReader
from distunlearn.streaming.sequence import SequentialReader

OPEN_SHARDS = 256
"""A quarter of what a process may usually have open."""


@runtime_checkable
class Reader(Protocol):
    """Anything that fills a buffer with the stored values of scans, from many threads at once."""

    def read(self, rows: Int[np.ndarray, " n"], out: np.ndarray) -> None:
        """Fill `out[i]` with the stored values of row `rows[i]` of the study's table.

        Args:
            rows: which scans.
            out: (n, …) C-contiguous, of the study's stored type.

        Raises:
            UserError: a shard is missing or cut off, or a scan's bytes are not those that were written.
        """


class IndexReader:
    """Reads scans by their offsets from a local or network file system: one `preadv` a scan, without a copy."""

    def __init__(self, study: Study) -> None:
        self._places = Places(study, url_to_fs(study.root)[1])
        self._open = lru_cache(maxsize=OPEN_SHARDS)(_Shard)

    def read(self, rows: Int[np.ndarray, " n"], out: np.ndarray) -> None:
        """See `Reader.read`."""
        stored, size = out.reshape(-1, copy=False).view(np.uint8).data, self._places.size
        for place, row in enumerate(rows.tolist()):
            values = stored[place * size : (place + 1) * size]
            self._fill(row, values)
            self._places.check(row, values)

    def _fill(self, row: int, values: memoryview) -> None:
        try:
            shard = self._open(self._places.paths[row])
            got = os.preadv(shard.descriptor, [values], self._places.offsets[row])
        except OSError as error:
            raise self._places.damage(row, f"the shard cannot be read ({error.strerror})") from None
        if got != len(values):
            raise self._places.damage(row, "the shard ends before it")


class _Shard:
    """An open shard; closed when the last thread that reads from it lets go."""

    def __init__(self, path: str) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def open_reader(study: Study) -> Reader:
    """The reader for where a study's shards are."""
    if study.access.stream is not None:
        return SequentialReader(study)
    return IndexReader(study) if isinstance(url_to_fs(study.root)[0], LocalFileSystem) else RangeReader(study)
