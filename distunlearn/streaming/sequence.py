"""Scans from sources that can only be read from front to end: a pipe, or a server without byte ranges."""

import shlex
import subprocess
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
from fsspec.core import url_to_fs
from jaxtyping import Int, UInt8

from distunlearn.errors import UserError
from distunlearn.streaming.access import PIPE
from distunlearn.streaming.manifest import Study
from distunlearn.streaming.places import Places

BLOCK = 1 << 20

Read = Callable[[int], bytes]

Shard = dict[int, UInt8[np.ndarray, " bytes"]]
"""The bytes of each scan of a shard, by row of the study's table."""


class SequentialReader:
    """Streams a shard whole when its first scan is wanted and keeps the last few of each site in memory.

    A plan made for sequences (`Plan.shards`) stays within `window` shards of a site at a time, so that each is streamed
    once a cycle. Which samples come and in which order is the plan's business, as with every other reader.
    """

    def __init__(self, study: Study) -> None:
        self._access = study.access
        self._places = Places(study, "")
        self._rows: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row in np.argsort(study.table["offset"].to_numpy(), kind="stable").tolist():
            self._rows[self._places.shards[row]].append(row)
        self._kept: dict[str, OrderedDict[str, Shard]] = {site: OrderedDict() for site in study.sites}
        self._locks = {site: Lock() for site in study.sites}

    def read(self, rows: Int[np.ndarray, " n"], out: np.ndarray) -> None:
        """See `Reader.read`."""
        for row, place in zip(rows.tolist(), out, strict=True):
            site, name = self._places.shards[row]
            with self._locks[site]:
                shard = self._shard(site, name)
            place.reshape(-1).view(np.uint8)[:] = shard[row]

    def _shard(self, site: str, name: str) -> Shard:
        kept = self._kept[site]
        if name not in kept:
            kept[name] = self._stream(site, name)
            # This window and the next one: batches that are read ahead may be in both.
            while len(kept) > 2 * self._access.window:
                kept.popitem(last=False)
        kept.move_to_end(name)
        return kept[name]

    def _stream(self, site: str, name: str) -> Shard:
        shard: Shard = {}
        position = 0
        try:
            with _opened(self._access.stream or "", site, name) as read:
                for row in self._rows[site, name]:
                    _exactly(read, self._places.offsets[row] - position)
                    shard[row] = np.frombuffer(_exactly(read, self._places.size), np.uint8)
                    position = self._places.offsets[row] + self._places.size
                    self._places.check(row, shard[row].data)
                while read(BLOCK):  # a command that is not heard to its end fails
                    pass
        except EOFError:
            raise self._places.damage(row, "the shard ends before it") from None
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001  # every kind of source has errors of its own
            raise UserError(
                f"site {site}: shard {name} cannot be streamed ({error}); check data.access.stream"
            ) from None
        return shard


@contextmanager
def _opened(template: str, site: str, name: str) -> Iterator[Read]:
    if not template.startswith(PIPE):
        files, path = url_to_fs(template.format(site=site, shard=name))
        with files.open(path, "rb", block_size=0) as stream:
            yield stream.read
        return
    command = template.removeprefix(PIPE).format(site=shlex.quote(site), shard=shlex.quote(name))
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        yield process.stdout.read
    if process.returncode:
        raise OSError(f"the command ended with status {process.returncode}")


def _exactly(read: Read, size: int) -> bytes:
    parts = []
    while size > 0:
        part = read(min(size, BLOCK))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
