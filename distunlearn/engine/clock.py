"""How long stretches of a step take, without making the host wait for the device."""

import time

import torch


class Clock:
    """Adds up stretches of time; on a GPU they are marked in its own stream and read when asked for."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds = 0.0
        self._begun = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def start(self) -> None:
        """Begin a stretch."""
        if self._on_gpu:
            events = (_mark(), _mark())
            events[0].record()
            self._events.append(events)
        else:
            self._begun = time.perf_counter()

    def stop(self) -> None:
        """End the stretch."""
        if self._on_gpu:
            self._events[-1][1].record()
        else:
            self._seconds += time.perf_counter() - self._begun

    def read(self) -> float:
        """Seconds since the last reading; waits for the device to reach the last mark."""
        if self._events:
            torch.cuda.synchronize()
            self._seconds += sum(begun.elapsed_time(ended) for begun, ended in self._events) / 1000
        seconds, self._seconds, self._events = self._seconds, 0.0, []
        return seconds


def _mark() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
