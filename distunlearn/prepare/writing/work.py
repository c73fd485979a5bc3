"""The scans of a shard, prepared in worker processes and handed back in order."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process

import numpy as np
from jaxtyping import Num, UInt8
from joblib import cpu_count

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.sources.scans import Scan
from distunlearn.prepare.voxels.volume import prepare_volume


@dataclass(frozen=True)
class Prepared:
    """What became of a scan: an array, or the rule that it breaks."""

    array: Num[np.ndarray, "..."] | None = None
    """Volume (W, H, D) int16, or features (F,) float32."""
    segmentation: UInt8[np.ndarray, "W H D"] | None = None
    scale: float = 1.0
    mean: float = 0.0
    sd: float = 1.0
    voxel_mm: tuple[float, ...] = ()
    """Size of a voxel of the file along the volume's axes; none of features."""
    rule: str = ""
    reason: str = ""


Prepare = Callable[[Iterable[Scan]], Iterator[Prepared]]


def prepare_one(scan: Scan, config: PrepareConfig) -> Prepared:
    """Prepare one scan; whatever goes wrong with its file is a refusal, so that the others go on."""
    try:
        if scan.features is not None:
            return Prepared(np.array(scan.features, np.float32))
        assert scan.path is not None
        volume = prepare_volume(
            scan.path,
            config.preprocessing,
            orientation_from=config.orientation_from,
            segmentation=scan.segmentation,
        )
        return Prepared(
            volume.stored, volume.segmentation, volume.scale, volume.mean, volume.sd, voxel_mm=volume.voxel_mm
        )
    except UserError:
        raise
    except Refusal as refusal:
        return Prepared(rule=refusal.rule, reason=refusal.reason)
    except MemoryError:
        return Prepared(rule="memory", reason="needs more memory than there is; use fewer --workers")
    except Exception as error:  # noqa: BLE001 - one bad file must not end a night's work; its kind is in the reason
        return Prepared(rule="unreadable", reason=f"cannot be prepared ({type(error).__name__}); please report it")


@contextmanager
def pool(config: PrepareConfig, *, alone: bool = False) -> Iterator[Prepare]:
    """Worker processes; yields a function that prepares scans, in their order, a few ahead of the one in hand.

    Args:
        config: how many, and what to do.
        alone: no processes: there is too little to do for one scan.
    """
    workers = 1 if alone else config.workers or cpu_count()  # those of this job or container, not of the node
    if workers == 1:
        yield lambda scans: (prepare_one(scan, config) for scan in scans)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_live_with_parent) as executor:
        try:
            yield lambda scans: _in_order(executor, scans, config, ahead=4 * workers)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _live_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it: a killed run must not leave its workers waiting for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def _in_order(
    executor: ProcessPoolExecutor, scans: Iterable[Scan], config: PrepareConfig, *, ahead: int
) -> Iterator[Prepared]:
    waiting: deque[Future[Prepared]] = deque()
    try:
        for scan in scans:
            waiting.append(executor.submit(prepare_one, scan, config))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, most likely for want of memory; run again with fewer --workers (what is done is kept)"
        ) from None
