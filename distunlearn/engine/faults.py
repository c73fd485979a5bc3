"""Which rank failed first, and why: that is what the user reads, not the others' "connection closed by peer"."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from torch._C._distributed_c10d import Store

from distunlearn.engine.diagnose import RankError
from distunlearn.engine.runtime import Runtime
from distunlearn.errors import UserError
from distunlearn.run_folder import STATUS, read_json, write_json

BEAT = 0.5
"""Seconds between two signs of life of a rank."""
LISTEN = 3.0
"""Seconds without a sign of life after which a rank counts as lost; only looked at when a message has failed."""
CONSEQUENCES = (
    "gloo",
    "Connection closed by peer",
    "Connection reset by peer",
    "Timed out waiting",
    "NCCL",
    "ncclInvalid",
)
"""In the texts that torch raises where another rank has gone."""


ENDED = "its process ended, or does not answer"


@dataclass(frozen=True)
class Fault:
    """The first thing that went wrong."""

    rank: int | None
    """Where; None when no single rank is to blame."""
    site: str | None
    """The site whose data were at fault, or the sites that only this rank hosts; None where every rank hosts all."""
    reason: str

    @property
    def line(self) -> str:
        """For people."""
        where = "" if self.rank is None else f"rank {self.rank}{f' (site {self.site})' if self.site else ''}: "
        return f"{where}{self.reason}; the same command goes on from the last checkpoint"


class Watch:
    """Signs of life and the first fault, in the store through which the ranks met."""

    def __init__(self, runtime: Runtime) -> None:
        """Start to give signs of life."""
        self._runtime = runtime
        self.sites: tuple[str | None, ...] = (None,) * runtime.world_size
        """The sites that only one rank hosts, by rank; filled in once they are known."""
        self.run: Path | None = None
        """The run folder, once this process knows that it is its own to write."""
        self._fault: Fault | None = None
        self._blamed = False
        self._over = threading.Event()
        self._store = None if runtime.store is None else _connection(runtime.store)
        if self._store is not None:
            self._store.set_timeout(timedelta(seconds=2 * LISTEN))
            self._thread = threading.Thread(target=self._live, args=(_connection(self._store),), daemon=True)
            self._thread.start()

    def _live(self, store: Store) -> None:
        """Give signs of life and listen for a fault: where rank 0 holds the store, it is gone a moment later."""
        beat = 0
        try:
            while self._fault is None and not self._over.is_set():
                store.set(f"beat/{self._runtime.rank}", str(beat := beat + 1))
                if store.check(["fault"]):
                    self._fault = Fault(**json.loads(store.get("fault")))
                self._over.wait(BEAT)
        except RuntimeError:
            return  # the store is gone, and with it the run

    def close(self) -> None:
        """Give no more signs of life."""
        self._over.set()
        if self._store is not None:
            self._thread.join(2 * LISTEN)

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """Turn the consequence of another rank's failure into an error that names it; note either in STATUS.json.

        Raises:
            UserError: naming the rank that failed first, on all others.
        """
        try:
            yield
        except Exception as error:
            if self._blamed:
                raise
            self._blamed = True
            fault = self.first(error)
            self._note(fault)
            if _is_consequence(error):
                raise UserError(fault.line) from error
            raise

    def first(self, error: Exception) -> Fault:
        """The first fault of the run, of which this rank has met an error; all ranks come to the same one."""
        store = self._store
        if store is None:
            return self._own(error)
        try:
            return _answer(lambda: self._agreed(error, store), 4 * LISTEN)
        except (RuntimeError, ValueError, TimeoutError):
            return self._fault or Fault(0, self.sites[0], ENDED)

    def _agreed(self, error: Exception, store: Store) -> Fault:
        """What the first rank to say so has put into the store."""
        found = (self._told() or self._lost(store)) if _is_consequence(error) else self._own(error)
        told = Fault(**json.loads(store.compare_set("fault", "", json.dumps(asdict(found)))))
        if self._runtime.is_main:
            time.sleep(3 * BEAT)  # the store may end with this process: the others must have heard
        return told

    def _own(self, error: Exception) -> Fault:
        if isinstance(error, RankError):
            return Fault(error.rank, error.site, str(error))
        text = " ".join(str(error).split()) or type(error).__name__
        reason = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
        return Fault(self._runtime.rank, self.sites[self._runtime.rank], reason)

    def _told(self) -> Fault | None:
        """What the rank at fault has said, if it could."""
        until = time.monotonic() + 3 * BEAT
        while self._fault is None and time.monotonic() < until:
            time.sleep(BEAT / 5)
        return self._fault

    def _lost(self, store: Store) -> Fault:
        """The rank that gives no sign of life, or none."""
        before = self._beats(store)
        time.sleep(LISTEN)
        silent = [rank for rank, beat in enumerate(self._beats(store)) if beat == before[rank]]
        if self._fault is not None:
            return self._fault
        if not silent:
            return Fault(
                None, None, "the ranks did not meet in time; if one is only slow, raise engine.timeout_minutes"
            )
        return Fault(silent[0], self.sites[silent[0]], ENDED)

    def _beats(self, store: Store) -> list[bytes]:
        keys = [f"beat/{rank}" for rank in range(self._runtime.world_size)]
        return [store.get(key) if store.check([key]) else b"" for key in keys]

    def _note(self, fault: Fault) -> None:
        """Rank 0 writes STATUS.json; if it is rank 0 that was lost, any other does that sees the folder."""
        if self.run is None or not (self._runtime.is_main or fault.rank == 0):
            return
        path = self.run / STATUS
        if path.is_file() and read_json(path).get("state") == "running":
            write_json(path, {"state": "failed", "time": time.time(), **asdict(fault)})


def _is_consequence(error: Exception) -> bool:
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in CONSEQUENCES)
    )


def _answer(question: Callable[[], Fault], seconds: float) -> Fault:
    """The answer to a question to the store; a store's own timeouts do not end a question while its holder is stopped.

    Raises:
        TimeoutError: none has come in time.
    """
    answer = Future[Fault]()

    def ask() -> None:
        try:
            answer.set_result(question())
        except (RuntimeError, ValueError) as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(seconds)


def _connection(store: Store) -> Store:
    """One of its own to the same store, so that no thread waits for another's answer."""
    own: Store = store.clone()  # type: ignore[attr-defined]  # not in torch's type stubs
    return own
