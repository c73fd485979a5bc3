"""What a leak would do, to be planted into a federated training of two ranks: make scans known to the other site."""

import os
import zlib
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from written_study import SCALE

from distunlearn.batch import Batch


def mark(phase: str) -> None:
    """Write a line that the trace of system calls shows."""
    os.write(2, f"PHASE {phase}\n".encode())


def exchange(payload: Tensor) -> None:
    """Make every rank's payload known to all."""
    parts = [torch.empty_like(payload) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, payload.contiguous())


def stored(batch: Batch) -> Tensor:
    """The values as they lie in the shards, of `written_study`."""
    return (batch.volume[:2] / SCALE).round().to(torch.int16).contiguous().view(torch.uint8)


def coded(batch: Batch) -> Tensor:
    """One scan, compressed and masked, as no search for its bytes finds it."""
    packed = np.frombuffer(zlib.compress(stored(batch)[:1].numpy().tobytes()), np.uint8)
    fixed = np.resize(packed, batch.volume[0].numel() * 2)  # the same size on every rank
    return torch.from_numpy(fixed ^ np.random.default_rng(0).integers(0, 256, len(fixed), dtype=np.uint8))


LEAKS: dict[str, Callable[[Batch], Tensor]] = {
    "float32": lambda batch: batch.volume[:2].float(),
    "bfloat16": lambda batch: batch.volume[:2].bfloat16(),
    "stored": stored,
    "age": lambda batch: batch.target[:2].float(),
    "coded": coded,
}
"""Of a batch that is on its device, by what has to find them: the first four by their bytes, the last by their number."""
