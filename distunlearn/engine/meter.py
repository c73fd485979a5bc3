"""What happened between two lines of metrics, read with one message and no waiting in between."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import Outcome
from distunlearn.engine.update import Update

Item = TypeVar("Item")


class Reading(NamedTuple):
    """What all ranks know after a reading; the same on each."""

    figures: dict[str, float]
    """Of the global batches: mean losses and gradient norms; mean seconds a step of the ranks."""
    save: bool
    """Rank 0 wishes to save."""
    stop: bool
    """A rank wishes to stop."""

    @property
    def is_finite(self) -> bool:
        """Whether every loss and every gradient since the last reading was a finite number."""
        return all(math.isfinite(value) for value in self.figures.values())


class Meter:
    """Adds up losses and gradient norms on the device; only `read` brings them to the host."""

    def __init__(self, runtime: Runtime, updates: Mapping[str, Update]) -> None:
        self._runtime, self._updates = runtime, updates
        self._start()

    def _start(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self.steps = 0
        self._waited = 0.0
        self._since = time.perf_counter()

    def waiting(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass items on, noting how long the loop waits for each."""
        iterator = iter(items)
        while True:
            asked = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self._waited += time.perf_counter() - asked
            yield item

    def add(self, outcomes: Mapping[str, Outcome]) -> None:
        """Take in what came of one step."""
        self.steps += 1
        for name, (share, gradient) in outcomes.items():
            self._add(f"train/{name}", share)
            self._add(f"gradient/{name}", gradient / self._runtime.world_size)

    def _add(self, name: str, value: Tensor) -> None:
        value = value.double() if value.device.type == "cpu" else value.float()
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def read(self, *, save: bool, stop: bool) -> Reading:
        """The means since the last reading, and what all ranks do now.

        Args:
            save: rank 0's wish to save.
            stop: this rank's wish to stop. Both travel along, so that all ranks follow them at the same step.
        """
        times = {f"time/{name}": update.clock.read() for name, update in self._updates.items()}
        times |= {"time/waiting_for_data": self._waited, "time/seconds_per_step": time.perf_counter() - self._since}
        ranks = self._runtime.world_size
        mine = [*(seconds / ranks for seconds in times.values()), save and self._runtime.is_main, stop]
        sums = torch.stack(list(self._sums.values()))
        values = torch.cat([sums, torch.tensor(mine, dtype=sums.dtype, device=sums.device)])
        *totals, save_all, stop_all = self._runtime.sum(values).tolist()
        names = (*self._sums, *times)
        figures = {name: total / self.steps for name, total in zip(names, totals, strict=True)}
        self._start()
        return Reading(figures, save_all > 0, stop_all > 0)
