"""`distunlearn train` as a test alters it: in double precision, or with marked steps and leaks planted behind some of them.

A test puts a script that starts it on the PATH as `distunlearn`, so that launch/federated/ runs it in place of the real one.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distunlearn.batch import Batch
from distunlearn.engine import building, stage
from distunlearn.evaluate.model import ModelCard
from distunlearn.methods import Part

CLEAN_STEPS = 2
"""Steps before the first leak."""


@contextmanager
def double_precision() -> Iterator[None]:
    """Train in float64, in which sums over ranks differ from one process's by 1e-16 and not by 1e-8."""
    plain_to, plain_parts = Batch.to, building.build_parts

    def to(self: Batch, device: torch.device | str) -> Batch:
        moved = plain_to(self, device)
        return moved._replace(volume=moved.volume.double())

    def parts(card: ModelCard) -> dict[Part, nn.Module]:
        return {name: part.double() for name, part in plain_parts(card).items()}

    Batch.to, building.build_parts = to, parts  # type: ignore[method-assign]
    try:
        yield
    finally:
        Batch.to, building.build_parts = plain_to, plain_parts  # type: ignore[method-assign]


@contextmanager
def marked_steps() -> Iterator[None]:
    """Mark every step in the trace of system calls; behind some of the first ones, leak scans on purpose."""
    from leaks import LEAKS, exchange, mark

    plain, planted = stage.take_step, iter([*[None] * CLEAN_STEPS, *LEAKS])

    def take_step(network: Any, phases: Any, batches: Any, *arguments: Any, **options: Any) -> Any:
        mark("step")
        outcomes = plain(network, phases, batches, *arguments, **options)
        if name := next(planted, None):
            mark(name)
            exchange(LEAKS[name](batches["main"].batch))
        mark("between")
        return outcomes

    stage.take_step = take_step
    try:
        yield
    finally:
        stage.take_step = plain


ALTERATIONS = {"double_precision": double_precision, "marked_steps": marked_steps}

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))
    from distunlearn.cli import run

    alteration = sys.argv.pop(1)
    with ALTERATIONS[alteration]():
        run()
