"""Reading ahead by threads into buffers that are used again and again: memory stays flat, and nothing is copied twice.

What Python does here between two batches finds the processor's caches full of voxels, and costs three times what it
costs in a loop of its own: so as little as possible is done for each batch, and the rest for many at once.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from math import prod
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from distunlearn.streaming.manifest import Study
from distunlearn.streaming.reader import Reader

Rows = Int[np.ndarray, " _"]
Known = TypeVar("Known")
Made = TypeVar("Made")
Item = TypeVar("Item")

ALIGNMENT = 64
"""Bytes of a cache line."""
BURST = 32
"""Requests that are drawn at once."""


class Buffer(NamedTuple):
    """Memory for the stored values of some scans, as torch and as numpy see it."""

    tensor: Tensor
    array: np.ndarray

    def cut(self, scans: int) -> "Buffer":
        """The first of it."""
        return self if len(self.array) == scans else Buffer(self.tensor[:scans], self.array[:scans])


class Buffers:
    """A ring of batch buffers; pinned where there is a CUDA device, so that copies to it need not wait."""

    def __init__(self, study: Study, number: int) -> None:
        self._shape = (1, *study.shape) if study.kind == "volume" else study.shape
        self._dtype = study.dtype
        self._ring = [self._new(0)] * number
        self._next = 0

    def take(self, scans: int) -> Buffer:
        """The buffer that was handed out longest ago, cut to `scans`; it grows where it is too small."""
        place = self._next
        self._next = (place + 1) % len(self._ring)
        if len(self._ring[place].array) < scans:
            self._ring[place] = self._new(scans)
        return self._ring[place].cut(scans)

    def _new(self, scans: int) -> Buffer:
        shape = (scans, *self._shape)
        if torch.cuda.is_available() and scans:
            tensor = torch.empty(shape, dtype=getattr(torch, self._dtype), pin_memory=True)
        else:
            tensor = torch.from_numpy(_aligned(prod(shape), self._dtype)).view(shape)
        return Buffer(tensor, tensor.numpy())


def _aligned(values: int, dtype: str) -> np.ndarray:
    """Fresh memory that the kernel copies to fastest: in huge pages, for which numpy asks, and from a cache line on."""
    memory = np.empty(values + ALIGNMENT // np.dtype(dtype).itemsize, dtype)
    first = -memory.ctypes.data % ALIGNMENT // memory.itemsize
    return memory[first : first + values]


def in_bursts(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, worked out many at a time."""
    source = iter(items)
    while burst := list(islice(source, BURST)):
        yield from burst


def read_ahead(
    reader: Reader,
    requests: Iterable[tuple[Rows, Known]],
    buffers: Buffers,
    make: Callable[[Known, Tensor], Made],
    *,
    ahead: int,
    threads: int,
) -> Generator[Made]:
    """Yield what is made of each request and its stored values in turn, while the next `ahead` ones are being read.

    Args:
        reader: where scans come from.
        requests: rows of the study's table, and what is known of them already.
        buffers: at least `ahead + 1` of them; every further one keeps a yielded tensor whole for one request longer.
        make: called in a thread, with what is known and the buffer, of which it must not look at the values.
        ahead: requests in flight.
        threads: that read; a request is cut into as few parts as keep all of them busy.
    """
    parts = -(-threads // ahead)
    flight: deque[list[Future[Made | None]]] = deque()

    def fill(rows: Rows, known: Known, buffer: Buffer, part: slice) -> Made | None:
        reader.read(rows[part], buffer.array[part])
        return None if part.start else make(known, buffer.tensor)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    try:
        for rows, known in requests:
            buffer, size = buffers.take(len(rows)), max(-(-len(rows) // parts), 1)
            places = (slice(at, at + size) for at in range(0, max(len(rows), 1), size))
            flight.append([pool.submit(fill, rows, known, buffer, part) for part in places])
            if len(flight) > ahead:
                yield _landed(flight.popleft())
        while flight:
            yield _landed(flight.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _landed(parts: list[Future[Made | None]]) -> Made:
    """What was made with the first part, when all of them have been read; raises what a thread met."""
    made, *_ = [part.result() for part in parts]
    assert made is not None
    return made
