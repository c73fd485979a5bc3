"""A checkpoint is whole or not there, whenever the writer is killed."""

import errno
import json
import os
import pickle
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import START
from safetensors import SafetensorError

from distunlearn.engine import checkpoint
from distunlearn.engine.checkpoint import DIGESTS, KEPT, PART, STATE, TENSORS, Snapshot, newest, save

NAMES = 24
"""Tensors of a generation."""


def _save_for_ever(folder: Path, first: int) -> None:
    """Save one generation after another, every value of which is its number."""
    for generation in count(first):
        tensors = {f"{index}": torch.full((4096,), float(generation)) for index in range(NAMES)}
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
        partial += (tmp_path / PART).exists()
        found, damaged = newest(tmp_path)
        assert found is not None
        assert not damaged
        generation = found.state["generation"]
        assert all((value == generation).all() for value in found.tensors.values())
        saved = (tmp_path / "saved").read_text() if (tmp_path / "saved").exists() else ""
        assert generation >= max(last + 1, int(saved or 0))
        last = generation
    assert partial > kills / 10, "hardly any kill fell inside a save"


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("name", [TENSORS, STATE])
def test_a_pickle_is_not_loaded(name: str, tmp_path: Path) -> None:
    """In place of either file, with a digest that fits: the generation is named, the one before is used, and nothing is carried out."""
    folder, sprung = tmp_path / "checkpoints", tmp_path / "sprung"
    for number in (1, 2):
        save(folder, Snapshot({"values": torch.full((4,), float(number))}, {"number": number}), number)
    generation = folder / f"{2:09d}"
    (generation / name).write_bytes(pickle.dumps(Trap(sprung)))
    digests = {file: checkpoint._digest(generation / file) for file in (TENSORS, STATE)}
    (generation / DIGESTS).write_text(json.dumps(digests))
    found, damaged = newest(folder)
    assert found is not None
    assert found.state["number"] == 1
    assert generation.name in damaged[0]
    assert not sprung.exists()
    pickle.loads((generation / name).read_bytes())
    assert sprung.exists()  # the trap works


BIG = 40_000
"""Values of the larger file of a generation in the tests of full disks."""
SIZES = {"tensors": (BIG, 10), "state": (10, BIG)}


def _generation(number: int, file: str) -> Snapshot:
    tensors, state = SIZES[file]
    return Snapshot({"values": torch.full((tensors,), float(number))}, {"number": number, "more": [number] * state})


@contextmanager
def _full_after(nbytes: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: the operating system refuses in the middle of a write."""
    before, signalled = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signalled)


def _assert_whole(folder: Path, number: int) -> None:
    """The newest generation is this one, nothing is damaged, and nothing else takes space."""
    found, damaged = newest(folder)
    assert found is not None
    assert found.state["number"] == number
    assert (found.tensors["values"] == number).all()
    assert not damaged
    assert len(list(folder.iterdir())) == min(number, KEPT)


@pytest.mark.parametrize("file", SIZES)
@pytest.mark.parametrize("percent", range(0, 100, 10))
def test_a_disk_that_is_full_in_the_middle_of_a_save_loses_nothing(percent: int, file: str, tmp_path: Path) -> None:
    """At every tenth of either file: the save fails, the generations before are as they were, and the next save succeeds."""
    for number in (1, 2):
        save(tmp_path, _generation(number, file), number)
    whole = max(path.stat().st_size for path in (tmp_path / f"{2:09d}").iterdir())
    with _full_after(whole * percent // 100), pytest.raises((OSError, SafetensorError)):
        save(tmp_path, _generation(3, file), 3)
    _assert_whole(tmp_path, 2)
    save(tmp_path, _generation(3, file), 3)
    _assert_whole(tmp_path, 3)


CALLS: dict[str, tuple[object, str, int]] = {
    "the folder is made": (Path, "mkdir", 2),
    "tensors are written": (checkpoint, "save_file", 1),
    "state is written": (Path, "write_text", 1),
    "digests are written": (Path, "write_text", 2),
    **{f"file {number} is made durable": (os, "fsync", number) for number in (1, 2, 3)},
    "the folder is made durable": (os, "fsync", 4),
    "the folder is renamed": (Path, "rename", 1),
}
"""What is called when, and the how manieth call of it in a save."""


@pytest.mark.parametrize("moment", CALLS)
@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO])
def test_a_disk_that_turns_read_only_in_a_save_loses_nothing(
    moment: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever operation of a save is the first to be refused: the generations before are as they were."""
    owner, name, turn = CALLS[moment]
    honest: Callable[..., object] = getattr(owner, name)
    calls = count(1)

    def refused(*arguments: object, **options: object) -> object:
        if next(calls) >= turn:
            raise OSError(code, os.strerror(code))
        return honest(*arguments, **options)

    for number in (1, 2):
        save(tmp_path, _generation(number, "tensors"), number)
    monkeypatch.setattr(owner, name, refused)
    with pytest.raises(OSError, match=os.strerror(code)):
        save(tmp_path, _generation(3, "tensors"), 3)
    monkeypatch.undo()
    _assert_whole(tmp_path, 2)
