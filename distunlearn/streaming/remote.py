"""Scans by byte ranges from http, s3 and whatever else fsspec reaches, several at once and nothing on disk."""

import time

import numpy as np
from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem
from jaxtyping import Int

from distunlearn.streaming.manifest import Study
from distunlearn.streaming.places import Places

PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each attempt: a network may fail for a moment."""


class RangeReader:
    """Reads scans by byte ranges; see `Reader`."""

    def __init__(self, study: Study) -> None:
        self._files, root = url_to_fs(study.root)
        self._places = Places(study, root.rstrip("/"))

    def read(self, rows: Int[np.ndarray, " n"], out: np.ndarray) -> None:
        """See `Reader.read`."""
        asked = rows.tolist()
        ranges = [(self._places.paths[row], self._places.offsets[row]) for row in asked]
        for row, place, content in zip(asked, out, fetch(self._files, ranges, self._places.size), strict=True):
            if isinstance(content, Exception):
                raise self._places.damage(row, f"the server does not give it ({type(content).__name__})") from None
            self._keep(row, content, place)

    def _keep(self, row: int, content: bytes, place: np.ndarray) -> None:
        if len(content) > self._places.size:
            raise self._places.damage(
                row, "the server sent more than was asked for, so it knows no byte ranges; give data.access.stream"
            )
        if len(content) < self._places.size:
            raise self._places.damage(row, "the shard ends before it")
        values = np.frombuffer(content, np.uint8)
        self._places.check(row, values.data)
        place.reshape(-1).view(np.uint8)[:] = values


def fetch(files: AbstractFileSystem, ranges: list[tuple[str, int]], size: int) -> list[bytes | Exception]:
    """Byte ranges of one size, given by path and first byte, all at once; those that fail are asked for again."""
    got: list[bytes | Exception] = [OSError()] * len(ranges)
    waiting = list(range(len(ranges)))
    for pause in PAUSES if ranges else ():
        time.sleep(pause)
        paths = [ranges[place][0] for place in waiting]
        starts = [ranges[place][1] for place in waiting]
        contents = files.cat_ranges(paths, starts, [start + size for start in starts], on_error="return")
        for place, content in zip(waiting, contents, strict=True):
            got[place] = content
        waiting = [place for place in waiting if isinstance(got[place], Exception)]
        if not waiting or any(isinstance(got[place], FileNotFoundError) for place in waiting):
            break
    return got
