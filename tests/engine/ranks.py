"""Run a function on several gloo ranks, and the small problem that the exactness tests share."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

from distunlearn.batch import Batch
from distunlearn.engine.step import RoleBatch


def on_ranks(world: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call `function(rank, world, *arguments)` on each of `world` fresh processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_enter, args=(world, port, function, arguments), nprocs=world)


def _enter(rank: int, world: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    function(rank, world, *arguments)


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
