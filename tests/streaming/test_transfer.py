"""Moving batches to a device changes where they are and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distunlearn.streaming.loader import Loader
from distunlearn.streaming.manifest import read_study
from distunlearn.streaming.select import select
from distunlearn.streaming.selection import Selection
from distunlearn.streaming.transfer import on_device

CUDA = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("depth", [1, 2])
def test_batches_on_a_device_are_those_of_the_loader(
    study_folder: Callable[..., Path], device: str, depth: int
) -> None:
    """Values survive the reuse of the loader's buffers, and two roles that share a batch share it there too."""
    study = read_study(study_folder(small=[50.0] * 7, large=[40.0] * 30))
    chosen = select(study, Selection(), split="train")
    plan = chosen.plan(8, seed=0, role="main")
    loader = Loader(study, {"main": (chosen, plan), "unlearn": (chosen, plan)}, depth=depth)
    expected = [roles["main"].to("cpu") for roles in loader.batches(0, 12)]
    held = list(on_device(loader.batches(0, 12), torch.device(device)))
    assert len(held) == 12
    for roles, batch in zip(held, expected, strict=True):
        assert roles["main"] is roles["unlearn"]
        assert roles["main"].volume.device.type == device
        for one, other in zip(roles["main"], batch, strict=True):
            assert torch.equal(one.cpu(), other)
