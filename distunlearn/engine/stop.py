"""A scheduler's wish that training stops: noted when the signal comes, followed at a step that all ranks share."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What Slurm, Kubernetes and torchrun send before they kill."""
STATUS = 75
"""Exit status of a run that stopped on request with everything saved, to be started again (EX_TEMPFAIL)."""


class Wish:
    """Whether this process was told to stop, and whether it does."""

    def __init__(self) -> None:
        self.stop = False
        self.followed = False
        """Everything is saved, and the process is on its way out with `STATUS`."""

    def note(self, _signal: int, _frame: FrameType | None) -> None:
        """Take note; saving here, in the middle of anything, would save half a step."""
        self.stop = True


@contextmanager
def listening() -> Iterator[Wish]:
    """Note signals instead of dying of them, until the block ends.

    A process that follows the wish stays deaf to the end of its days: a launcher that sees the first rank end, with
    `STATUS`, terminates the others, and one that dies of that on its way out would turn the status into a failure.
    """
    wish = Wish()
    before = {number: signal.signal(number, wish.note) for number in SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if wish.followed else handler)
