"""Reading ahead by threads into buffers that are used again and again: memory stays flat, and nothing is copied twice."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from distunlearn.streaming.manifest import Study
from distunlearn.streaming.reader import Reader

Rows = Int[np.ndarray, " _"]
Made = TypeVar("Made")


class Buffers:
    """A ring of batch buffers; pinned where there is a CUDA device, so that copies to it need not wait."""

    def __init__(self, study: Study, number: int) -> None:
        self._shape = (1, *study.shape) if study.kind == "volume" else study.shape
        self._dtype = {"int16": torch.int16, "float32": torch.float32}[study.dtype]
        self._ring: list[Tensor] = [self._new(0) for _ in range(number)]
        self._next = 0

    def take(self, scans: int) -> Tensor:
        """The buffer that was handed out longest ago, cut to `scans`; it grows where it is too small."""
        place = self._next
        self._next = (place + 1) % len(self._ring)
        if len(self._ring[place]) < scans:
            self._ring[place] = self._new(scans)
        return self._ring[place][:scans]

    def _new(self, scans: int) -> Tensor:
        return torch.empty((scans, *self._shape), dtype=self._dtype, pin_memory=torch.cuda.is_available() and scans > 0)


def read_ahead(
    reader: Reader,
    requests: Iterable[Rows],
    buffers: Buffers,
    make: Callable[[Rows, Tensor], Made],
    *,
    ahead: int,
    threads: int,
) -> Generator[Made]:
    """Yield what is made of each request and its stored values in turn, while the next `ahead` ones are being read.

    Args:
        reader: where scans come from.
        requests: rows of the study's table.
        buffers: at least `ahead + 1` of them; every further one keeps a yielded tensor whole for one request longer.
        make: called in a thread, with the rows and the buffer, of which it must not look at the values.
        ahead: requests in flight.
        threads: that read; each takes a part of a request.
    """
    flight: deque[tuple[list[Future[None]], Future[Made]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    try:
        for rows in requests:
            buffer = buffers.take(len(rows))
            parts = [part for part in np.array_split(np.arange(len(rows)), threads) if len(part)]
            reading = [pool.submit(reader.read, rows[part], buffer.numpy()[part[0] : part[-1] + 1]) for part in parts]
            flight.append((reading, pool.submit(make, rows, buffer)))
            if len(flight) > ahead:
                yield _landed(*flight.popleft())
        while flight:
            yield _landed(*flight.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _landed(reading: list[Future[None]], made: Future[Made]) -> Made:
    wait(reading)
    for part in reading:
        part.result()  # raises what the thread met
    return made.result()
