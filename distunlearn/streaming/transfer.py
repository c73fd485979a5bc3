"""Batches on their device: on CUDA by a stream of their own, while the step before is still being computed."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import torch

from distunlearn.batch import Batch

Role = TypeVar("Role", bound=str)


def on_device(batches: Iterable[Mapping[Role, Batch]], device: torch.device) -> Iterator[dict[Role, Batch]]:
    """Move every batch of a loader to a device; a batch that two roles share is moved once.

    What comes out has memory of its own. On CUDA the copies of a step are issued before the step before it is yielded,
    from pinned buffers and on a side stream, so that they cost the step nothing; a buffer is given back to the loader
    only when its copy is over.
    """
    moved = _on_side_stream(batches, device) if device.type == "cuda" else (_moved(roles, device) for roles in batches)
    yield from moved


def _moved(roles: Mapping[Role, Batch], device: torch.device) -> dict[Role, Batch]:
    once = {id(batch): batch.to(device) for batch in roles.values()}
    return {role: once[id(batch)] for role, batch in roles.items()}


def _on_side_stream(batches: Iterable[Mapping[Role, Batch]], device: torch.device) -> Iterator[dict[Role, Batch]]:
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[dict[Role, Batch], torch.cuda.Event] | None = None
    for roles in batches:
        with torch.cuda.stream(side):
            moved = _moved(roles, device)
        copied = side.record_event()
        if waiting:
            yield _ready(*waiting, device)
        waiting = moved, copied
        # The loader may fill this buffer again from its next batch on. The copy has had a whole step, so this is no wait.
        copied.synchronize()
    if waiting:
        yield _ready(*waiting, device)


def _ready(moved: dict[Role, Batch], copied: torch.cuda.Event, device: torch.device) -> dict[Role, Batch]:
    computing = torch.cuda.current_stream(device)
    computing.wait_event(copied)
    for batch in moved.values():
        for tensor in batch:
            tensor.record_stream(
                computing
            )  # its memory must not go to the side stream's next copy while it is used here
    return moved
