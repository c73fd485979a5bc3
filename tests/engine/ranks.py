"""Run a function on several gloo ranks, and the small problem that the exactness tests share."""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from distunlearn.batch import Batch
from distunlearn.engine.share import RoleBatch
from distunlearn.errors import UserError

# Ranks are forked from a process that has imported everything once: a fiftieth of what a fresh interpreter costs.
START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(["ranks", "accelerate", "distunlearn.engine.train", "tiny_run"])


def on_ranks(world: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call `function(rank, world, *arguments)` on each of `world` processes, and wait until all have succeeded."""
    statuses = end_of(start(world, function, *arguments))
    assert statuses == [0] * world, statuses


def start(world: int, function: Callable[..., None], *arguments: Any, log: Path | None = None) -> list[BaseProcess]:
    """Start `function(rank, world, *arguments)` on each of `world` processes; what rank r prints goes to LOG/r."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks: list[BaseProcess] = [
        START.Process(target=_enter, args=(rank, world, port, log, function, arguments)) for rank in range(world)
    ]
    for rank in ranks:
        rank.start()
    return ranks


def end_of(ranks: list[BaseProcess], seconds: float = 120) -> list[int | None]:
    """Exit statuses; None for a rank that has not ended in time, which is then killed."""
    until = time.monotonic() + seconds
    for rank in ranks:
        rank.join(max(until - time.monotonic(), 0))
    statuses = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
    return statuses


def _enter(
    rank: int, world: int, port: int, log: Path | None, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    if log is not None:
        log.mkdir(parents=True, exist_ok=True)
        os.dup2(os.open(log / str(rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    try:
        function(rank, world, *arguments)
    except UserError as error:  # as the command line does
        print(f"distunlearn: {error}", file=sys.stderr)
        sys.exit(2)


def batch_of(step: int, scans: int, *, seed: int, shape: tuple[int, ...] = (8, 8, 4), sites: int = 3) -> Batch:
    """A global batch of random volumes with uneven sites, ages and sexes: the same for every rank that asks."""
    generator = torch.Generator().manual_seed(1000 * seed + step)
    domain = torch.randint(0, sites, (scans,), generator=generator)
    domain[:sites] = torch.arange(sites)
    volume = torch.randn(scans, 1, *shape, generator=generator, dtype=torch.float64)
    age = volume.mean(dim=(1, 2, 3, 4)) * 5 + domain
    sex = torch.randint(0, 2, (scans,), generator=generator)
    target = torch.stack([age, sex.to(age)], dim=1)
    drawn = torch.empty(scans, 0, dtype=torch.int16)
    return Batch(volume, torch.ones(scans, dtype=torch.float64), torch.arange(scans), domain, target, drawn)


def share_of(batch: Batch, rows: torch.Tensor, sites: int = 3) -> RoleBatch:
    """A rank's share of a global batch: these rows of it, with the subject counts of the whole."""
    subjects = torch.bincount(batch.domain, minlength=sites)
    return RoleBatch(Batch(*(part[rows] for part in batch)), subjects)


def save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Leave tensors for the parent process."""
    torch.save(tensors, path)
