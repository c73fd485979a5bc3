"""Averages of the phases' losses between two lines of metrics, read with one message and no waiting in between."""

import time
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from distunlearn.engine.runtime import Runtime


class Meter:
    """Adds up this rank's shares on the device; only `read` brings them to the host."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._start()

    def _start(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._since = time.monotonic()

    def add(self, shares: Mapping[str, Float[Tensor, ""]]) -> None:
        """Take in one step's shares of the losses."""
        self._steps += 1
        for name, share in shares.items():
            self._sums[name] = self._sums[name] + share if name in self._sums else share

    def read(self, *, save: bool, stop: bool) -> tuple[dict[str, float], bool, bool]:
        """The mean losses of the global batches since the last reading, and what all ranks do now.

        Args:
            save: rank 0's wish to save.
            stop: this rank's wish to stop. Both travel along, so that all ranks follow them at the same step.

        Returns:
            Figures, whether rank 0 wishes to save, whether any rank wishes to stop.
        """
        wishes = torch.tensor([save and self._runtime.is_main, stop], dtype=torch.float32, device=self._runtime.device)
        values = torch.cat([torch.stack(list(self._sums.values())), wishes])
        *sums, save_all, stop_all = self._runtime.sum(values).tolist()
        figures = {f"train/{name}": value / self._steps for name, value in zip(self._sums, sums, strict=True)}
        figures["time/seconds_per_step"] = (time.monotonic() - self._since) / self._steps
        self._start()
        return figures, save_all > 0, stop_all > 0
