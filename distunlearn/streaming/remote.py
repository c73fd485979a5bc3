"""Scans by byte ranges from http, s3 and whatever else fsspec reaches, several at once and nothing on disk."""

import time

import numpy as np
from fsspec.core import url_to_fs
from jaxtyping import Int

from distunlearn.streaming.manifest import Study
from distunlearn.streaming.reader import Places

PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each attempt: a network may fail for a moment."""


class RangeReader:
    """Reads scans by byte ranges; see `Reader`."""

    def __init__(self, study: Study) -> None:
        self._files, root = url_to_fs(study.root)
        self._places = Places(study, root.rstrip("/"))

    def read(self, rows: Int[np.ndarray, " n"], out: np.ndarray) -> None:
        """See `Reader.read`; a request that fails is tried again."""
        waiting = list(range(len(rows)))
        for pause in PAUSES:
            time.sleep(pause)
            got = self._fetch(rows[waiting].tolist())
            for place, content in zip(waiting, got, strict=True):
                if isinstance(content, bytes):
                    self._keep(int(rows[place]), content, out[place])
            failed = [
                (place, content) for place, content in zip(waiting, got, strict=True) if not isinstance(content, bytes)
            ]
            waiting = [place for place, _ in failed]
            if not failed or any(isinstance(error, FileNotFoundError) for _, error in failed):
                break
        if failed:
            place, error = failed[0]
            raise self._places.damage(
                int(rows[place]), f"the server does not give it ({type(error).__name__})"
            ) from None

    def _fetch(self, rows: list[int]) -> list[bytes | Exception]:
        starts = [self._places.offsets[row] for row in rows]
        ends = [start + self._places.size for start in starts]
        got: list[bytes | Exception] = self._files.cat_ranges(
            [self._places.paths[row] for row in rows], starts, ends, on_error="return"
        )
        return got

    def _keep(self, row: int, content: bytes, place: np.ndarray) -> None:
        if len(content) > self._places.size:
            raise self._places.damage(
                row, "the server sent more than was asked for, so it knows no byte ranges; give data.access.stream"
            )
        if len(content) < self._places.size:
            raise self._places.damage(row, "the shard ends before it")
        values = np.frombuffer(content, np.uint8)
        self._places.check(row, values)
        place.reshape(-1).view(np.uint8)[:] = values
