"""Bytes of scans straight into a batch buffer, each checked against its digest before anybody can train on it."""

import os
from functools import lru_cache

import numpy as np
import xxhash
from jaxtyping import Int

from distunlearn.errors import UserError
from distunlearn.streaming.manifest import Study

OPEN_SHARDS = 256
"""Half of what the strictest systems allow a process to have open."""


class IndexReader:
    """Reads any scan of a study by its place in its shard: one `preadv` a scan, no copy, safe from many threads."""

    def __init__(self, study: Study) -> None:
        self._study = study
        table = study.table
        self._shards = [
            f"{study.root}/{site}/{shard}" for site, shard in zip(table["site"], table["shard"], strict=True)
        ]
        self._offset = table["offset"].to_numpy()
        self._digests = table["xxh3"].tolist()
        self._open = lru_cache(maxsize=OPEN_SHARDS)(_Shard)

    def read(self, rows: Int[np.ndarray, " n"], out: np.ndarray) -> None:
        """Fill `out[i]` with the stored values of row `rows[i]`.

        Args:
            rows: rows of the study's table.
            out: (n, …) C-contiguous, of the study's stored type.

        Raises:
            UserError: a shard is missing or cut off, or a scan's bytes are not those that were written.
        """
        for row, place in zip(rows.tolist(), out, strict=True):
            values = place.reshape(-1).view(np.uint8)
            self._fill(row, values)
            if xxhash.xxh3_128_hexdigest(values) != self._digests[row]:
                raise UserError(damage(self._study, row, "its bytes are not those that were written"))

    def _fill(self, row: int, values: np.ndarray) -> None:
        try:
            shard = self._open(self._shards[row])
            got = os.preadv(shard.descriptor, [values.data], self._offset[row])
        except OSError as error:
            raise UserError(damage(self._study, row, f"the shard cannot be read ({error.strerror})")) from None
        if got != len(values):
            raise UserError(damage(self._study, row, "the shard ends before it"))


class _Shard:
    """An open shard; closed when the last thread that reads from it lets go."""

    def __init__(self, path: str) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def damage(study: Study, row: int, what: str) -> str:
    """The line that names a damaged scan and what to do."""
    site, shard, key = study.table.loc[row, ["site", "shard", "key"]]
    return f"site {site}: scan {key} in shard {shard}: {what}; copy the shard again, or run `distunlearn shard` for this site"


def read_rows(study: Study, rows: Int[np.ndarray, " n"], out: np.ndarray) -> None:
    """Read a few scans once; see `IndexReader.read`."""
    IndexReader(study).read(rows, out)
