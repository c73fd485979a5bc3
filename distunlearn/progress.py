"""Progress of long work: bars on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 10.0

Advance = Callable[..., None]
"""`advance(n=1, **shown)`: n more are done; `shown` are the figures to show beside the bar."""


@contextmanager
def progress(label: str, total: int, unit: str, *, done: int = 0, visible: bool = True) -> Iterator[Advance]:
    """Show how far a piece of work of `total` units is, how fast it goes and how long it still takes.

    Args:
        label: what is being done, in a few words.
        total: how many units there are.
        unit: the plural of what is counted ("scans", "steps").
        done: units that were done before, which say nothing of how fast it goes.
        visible: False on every rank but the first.
    """
    if not visible:
        yield lambda n=1, **shown: None
    elif sys.stderr.isatty():
        with _bar(label, total, unit, done) as advance:
            yield advance
    else:
        yield _lines(label, total, unit, done)


@contextmanager
def _bar(label: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[shown]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(label, total=total, completed=done, shown="", rate="")

        def advance(n: int = 1, **shown: float) -> None:
            speed = bars.tasks[task].speed
            bars.update(task, advance=n, shown=_figures(shown), rate=f"{speed:.1f}/s" if speed else "")

        yield advance


def _lines(label: str, total: int, unit: str, before: int) -> Advance:
    start = last = time.monotonic()
    done = before

    def advance(n: int = 1, **shown: float) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if done < total and now - last < SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = (done - before) / max(now - start, 1e-9)
        left = (total - done) / max(rate, 1e-9)
        print(
            f"{label}: {done}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left  {_figures(shown)}".rstrip(),
            file=sys.stderr,
            flush=True,
        )

    return advance


def _figures(shown: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
