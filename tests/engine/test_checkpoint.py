"""A checkpoint is whole or not there, whenever the writer is killed."""

import random
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from ranks import START

from distunlearn.engine.checkpoint import Snapshot, newest, save

TENSORS = 24


def _save_for_ever(folder: Path, first: int) -> None:
    """Save one generation after another, every value of which is its number."""
    for generation in count(first):
        tensors = {f"{index}": torch.full((4096,), float(generation)) for index in range(TENSORS)}
        save(folder, Snapshot(tensors, {"generation": generation}), generation)
        (folder / "saved").write_text(str(generation))


@pytest.mark.parametrize("kills", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_a_kill_inside_a_save_loses_nothing(kills: int, tmp_path: Path) -> None:
    """Killed at a random moment of saving, again and again: the newest checkpoint is whole, of one generation, and not behind what was saved."""
    draw, last, partial = random.Random(0), 0, 0
    for _ in range(kills):
        writer = START.Process(target=_save_for_ever, args=(tmp_path, last + 1))
        writer.start()
        # Any newer generation will do: the first may be there and gone again before a busy machine lets us look.
        while writer.is_alive() and not any(int(path.name) > last for path in tmp_path.glob("0*")):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.03))
        writer.kill()
        writer.join()
        partial += any(tmp_path.glob(".part-*"))
        found, damaged = newest(tmp_path)
        assert found is not None
        assert not damaged
        generation = found.state["generation"]
        assert all((value == generation).all() for value in found.tensors.values())
        saved = (tmp_path / "saved").read_text() if (tmp_path / "saved").exists() else ""
        assert generation >= max(last + 1, int(saved or 0))
        last = generation
        for left in tmp_path.glob(".part-*"):
            assert left.is_dir()
    assert partial > kills / 10, "hardly any kill fell inside a save"
