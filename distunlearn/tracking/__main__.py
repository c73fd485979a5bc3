"""The child process that mirrors a training: it follows the files until the trainer has gone, then has seconds left."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from distunlearn.tracking.mirror import Mirror, describe

SECONDS_BETWEEN_LOOKS = 5.0
SECONDS_WITHOUT_SERVER = 60.0
"""Longest pause before the next try; the pauses double up to it."""


def follow(run: Path, trainer_gone: threading.Event) -> None:
    """Mirror a run until its trainer has gone; a server that fails is left alone for longer and longer.

    Raises:
        SystemExit: status 1, MLflow lacks something at the end.
    """
    mirror, pause = None, 0.0
    while True:
        last = trainer_gone.wait(pause)
        try:
            mirror = mirror or Mirror(run)
            mirror.catch_up()
            if last:
                mirror.finish()
                return
            pause = SECONDS_BETWEEN_LOOKS
        except Exception as error:  # noqa: BLE001  # whatever MLflow raises, the files stay and the next look retries
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {describe(error)}\n")
            if last:
                raise SystemExit(1) from None
            mirror, pause = None, min(max(2 * pause, 1.0), SECONDS_WITHOUT_SERVER)


def main() -> None:
    """Be the child process: standard input is a pipe that nobody writes to; its end is the end of the trainer."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):  # meant for the trainer, which still has things to tell
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(5)
    gone = threading.Event()
    run, seconds = Path(sys.argv[1]), float(sys.argv[2])
    threading.Thread(target=_await_end, args=(gone, seconds), daemon=True).start()
    follow(run, gone)


def _await_end(gone: threading.Event, seconds: float) -> None:
    """Give the mirror so many seconds after the trainer has gone, however it went."""
    sys.stdin.buffer.read()
    gone.set()
    time.sleep(seconds)
    os._exit(1)  # a thread that waits for a hung server cannot be interrupted otherwise


if __name__ == "__main__":
    main()
