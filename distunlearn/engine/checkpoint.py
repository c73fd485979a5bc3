"""Checkpoints as generations: written aside, digested, made durable, renamed; the newest whole one is resumed from."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from safetensors.torch import save as packed_tensors
from torch import Tensor
from torch.optim import Optimizer

TENSORS = "tensors.safetensors"
STATE = "state.json"
DIGESTS = "DIGESTS.json"
PART = ".part"
"""A generation that is being written, or that a killed process has left."""
KEPT = 2
"""Generations that are kept: the previous one is deleted only after the new one is durable."""


@dataclass(frozen=True)
class Snapshot:
    """All that a run needs to go on as if it had never stopped."""

    tensors: dict[str, Tensor]
    """Weights, buffers, optimisers' moments and every rank's random state, by name."""
    state: dict[str, Any]
    """Numbers and texts: position, optimisers' settings, configuration digest."""

    def packed(self) -> bytes:
        """As bytes that another process can unpack without trusting them."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        return json.dumps(self.state).encode() + b"\n" + packed_tensors(tensors)

    @classmethod
    def unpacked(cls, content: bytes) -> "Snapshot":
        """The reverse of `packed`."""
        state, _, tensors = content.partition(b"\n")
        return cls(load(tensors), json.loads(state))


def save(folder: Path, snapshot: Snapshot, step: int) -> Path:
    """Write one generation, durably; a reader sees all of it or none of it. Two processes must not save in one folder.

    Raises:
        OSError, SafetensorError: the disk is full or read-only; earlier generations are as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / PART
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in snapshot.tensors.items()}, part / TENSORS)
        (part / STATE).write_text(json.dumps(snapshot.state))
        (part / DIGESTS).write_text(json.dumps({name: _digest(part / name) for name in (TENSORS, STATE)}))
        for path in (*part.iterdir(), part):
            _make_durable(path)
        final = folder / f"{step:09d}"
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # gives the space back that a save on a full disk has taken
    _make_durable(folder)
    for old in _generations(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def newest(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The newest whole generation, and one line for each newer one that is damaged.

    Nothing is unpickled: tensors are safetensors, the rest is JSON.
    """
    damaged: list[str] = []
    for generation in reversed(_generations(folder)):
        fault = _fault(generation)
        if fault is None:
            try:
                return Snapshot(load_file(generation / TENSORS), json.loads((generation / STATE).read_text())), damaged
            except (SafetensorError, ValueError):
                fault = f"{TENSORS} or {STATE} is of another format"
        damaged.append(f"checkpoint {generation.name} is damaged ({fault}); an older one is used")
    return None, damaged


def _generations(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if re.fullmatch(r"\d{9,}", path.name))


def _fault(generation: Path) -> str | None:
    try:
        digests = json.loads((generation / DIGESTS).read_text())
    except (OSError, ValueError):
        return f"{DIGESTS} cannot be read"
    if set(digests) != {TENSORS, STATE}:
        return f"{DIGESTS} names other files"
    for name, digest in digests.items():
        path = generation / name
        if not path.is_file() or _digest(path) != digest:
            return f"{name} is not what was written"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        hasher = xxhash.xxh3_128()
        while block := file.read(1 << 22):
            hasher.update(block)
    return hasher.hexdigest()


def _make_durable(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def optimiser_tensors(name: str, optimiser: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimiser's moments by name, and its settings as JSON can hold them."""
    saved = optimiser.state_dict()
    tensors = {
        f"optimiser/{name}/{index}/{key}": value
        for index, entries in saved["state"].items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }
    return tensors, saved["param_groups"]


def restore_optimiser(
    name: str, optimiser: Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    """Put an optimiser back to where `optimiser_tensors` found it."""
    state: dict[int, dict[str, Tensor]] = {}
    prefix = f"optimiser/{name}/"
    for full, value in tensors.items():
        if full.startswith(prefix):
            index, key = full.removeprefix(prefix).split("/")
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def random_state(device: torch.device) -> Tensor:
    """This process's random state as bytes."""
    return torch.cuda.get_rng_state(device).to(device) if device.type == "cuda" else torch.get_rng_state()


def restore_random_state(state: Tensor, device: torch.device) -> None:
    """Put the random state back."""
    # A copy, because torch 2.13 reads a row of a larger tensor at the wrong address: a crash, or another rank's state.
    state = state.cpu().clone()
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
