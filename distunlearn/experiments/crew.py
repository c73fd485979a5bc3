"""The trainings of a suite as processes of their own, as many at a time as are asked for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from joblib import cpu_count

from distunlearn.engine.stop import SIGNALS, STATUS
from distunlearn.errors import UserError
from distunlearn.run_folder import STATUS as STATUS_FILE
from distunlearn.run_folder import read_json

SECONDS = 0.1
"""Between two looks at what has ended."""


@dataclass(frozen=True)
class Processes:
    """How many there are."""

    jobs: int = 1
    """Trainings at a time."""
    each: int | None = None
    """Processes of a training; one without a launcher if None."""


def trained(folders: Collection[Path], processes: Processes) -> Generator[Path]:
    """Train run folders from the configurations beside them, in their order, and yield each when its training has ended.

    Where several trainings of one process run at a time on a machine of several GPUs, each takes one GPU, in turn.
    Closed before its end it tells the trainings that run to save and to end, and waits for them.

    Args:
        folders: of the runs.
        processes: how many.

    Raises:
        UserError: a training failed (its log is named); the others have been told to save and to end.
        SystemExit: told to stop by a signal, which was passed on; every training has saved everything.
    """
    crew = _Crew(processes)
    waiting = list(folders)
    with _listening(crew), _ended(crew):
        while crew.running or (waiting and not crew.told):
            while waiting and not crew.told and (place := crew.free()) is not None:
                crew.begin(waiting.pop(0), place)
            if ended := crew.ended():
                yield from ended
            else:
                time.sleep(SECONDS)
        if crew.told and waiting:
            raise SystemExit(STATUS)


def given_to(folder: Path) -> Path:
    """The configuration that a training is started with."""
    return folder.with_name(f"{folder.name}.yaml")


def state_of(folder: Path) -> str:
    """What a run's STATUS.json says; nothing if there is none."""
    return str(read_json(folder / STATUS_FILE)["state"]) if (folder / STATUS_FILE).is_file() else ""


@dataclass
class _Crew:
    processes: Processes
    running: dict[int, tuple[Path, "subprocess.Popen[bytes]"]] = field(default_factory=dict)
    """By place: 0 to `jobs` - 1."""
    told: bool = False
    """Whether a signal has come, after which nothing is begun."""

    def free(self) -> int | None:
        return next((place for place in range(self.processes.jobs) if place not in self.running), None)

    def begin(self, folder: Path, place: int) -> None:
        each = self.processes.each
        launcher = [] if each is None else ["launch", "--nproc", str(each)]
        train = ["train", "--config", str(given_to(folder)), "--out", str(folder)]
        command = [sys.executable, "-m", "distunlearn", *launcher, *train]
        with _log(folder).open("ab") as said:
            process = subprocess.Popen(
                command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, env=_environment(self.processes, place)
            )
        self.running[place] = folder, process

    def ended(self) -> list[Path]:
        """Folders of the trainings that have ended since the last look."""
        places = [place for place, (_, process) in self.running.items() if process.poll() is not None]
        over = [self.running.pop(place) for place in places]
        for folder, process in over:
            _refuse_failure(folder, process.returncode, told=self.told)
        return [folder for folder, _ in over]

    def tell(self, number: int, _frame: FrameType | None = None) -> None:
        self.told = True
        for _, process in self.running.values():
            process.send_signal(number)

    def wait(self) -> None:
        for _, process in self.running.values():
            process.wait()


def _environment(processes: Processes, place: int) -> dict[str, str]:
    """Its share of the machine, where several trainings run at a time: cores, unless told otherwise, and one GPU."""
    if processes.jobs == 1:
        return dict(os.environ)
    each = processes.each or 1
    cores = max(1, cpu_count() // (processes.jobs * each))
    return {"OMP_NUM_THREADS": str(cores)} | os.environ | (_one_gpu(place) if each == 1 else {})


def _one_gpu(place: int) -> dict[str, str]:
    """What lets a training see one GPU of several."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    gpus = seen if seen != [""] else [str(index) for index in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if len(gpus) > 1 else {}


def _refuse_failure(folder: Path, status: int, *, told: bool) -> None:
    if status == 0:
        return
    # One that was told before it listened has died of the signal, with nothing to save.
    if state_of(folder) == "stopped" or (told and -status in SIGNALS):
        raise SystemExit(STATUS)
    log = _log(folder)
    raise UserError(f"{folder.name}: its training ended with status {status}: {_last_line(log)} ({log})")


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


@contextmanager
def _listening(crew: _Crew) -> Iterator[None]:
    """Pass a scheduler's signals on to the trainings, which then save everything and end."""
    before = {number: signal.signal(number, crew.tell) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ended(crew: _Crew) -> Iterator[None]:
    """Leave no training behind, whatever ends the suite."""
    try:
        yield
    except KeyboardInterrupt:
        crew.wait()  # the terminal has told the trainings too
        raise
    except BaseException:
        crew.tell(signal.SIGTERM)
        crew.wait()
        raise
