"""Trainings of a suite run several at a time, and none is left behind."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from distunlearn.engine.stop import STATUS
from distunlearn.errors import UserError
from distunlearn.experiments import crew
from distunlearn.experiments.crew import Processes, trained


class Pretended:
    """In place of `subprocess.Popen`: a training takes as many looks as its folder's name ends with."""

    begun: list["Pretended"]
    most: int

    def __init__(self, command: list[str], *, env: dict[str, str], **_: Any) -> None:
        self.folder = Path(command[command.index("--out") + 1])
        self.command, self.gpu, self.threads = command, env.get("CUDA_VISIBLE_DEVICES"), env.get("OMP_NUM_THREADS")
        self.looks, self.told, self.waited = int(self.folder.name[-1]), list[int](), False
        self.returncode: int | None = None
        Pretended.begun.append(self)
        Pretended.most = max(Pretended.most, sum(each.returncode is None for each in Pretended.begun))

    def poll(self) -> int | None:
        """Look whether it has ended."""
        self.looks -= 1
        if self.looks < 0:
            self._end()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Have it save and end at the next look."""
        self.told.append(number)
        self.looks = 0

    def wait(self) -> None:
        """Wait for its end."""
        self.waited = True
        self._end()

    def _end(self) -> None:
        if self.told and "early" in self.folder.name:
            self.returncode = -self.told[0]
            return
        state = "stopped" if self.told else "failed" if "bad" in self.folder.name else "finished"
        self.returncode = {"stopped": STATUS, "failed": 1, "finished": 0}[state]
        self.folder.mkdir(exist_ok=True)
        (self.folder / "STATUS.json").write_text(json.dumps({"state": state}))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Folders of pretended trainings, by their names."""
    Pretended.begun, Pretended.most = [], 0
    monkeypatch.setattr(crew.subprocess, "Popen", Pretended)
    monkeypatch.setattr(crew, "SECONDS", 0.0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda *names: [tmp_path / name for name in names]


@pytest.mark.parametrize("jobs", [1, 2, 3, 9])
def test_as_many_run_at_a_time_as_are_asked_for(jobs: int, folders: Callable[..., list[Path]]) -> None:
    """All are trained, begun in their order, and given back as they end."""
    given = folders("a-9", "b-1", "c-2", "d-1", "e-5")
    found = list(trained(given, Processes(jobs)))
    assert [each.folder for each in Pretended.begun] == given
    assert Pretended.most == min(jobs, len(given))
    assert sorted(found) == given
    assert (found == given) == (jobs == 1)
    assert not any(each.told for each in Pretended.begun)


def test_a_failure_stops_the_others_and_is_named(folders: Callable[..., list[Path]]) -> None:
    """They are told to save, waited for, and what was not begun is not begun."""
    given = folders("a-9", "bad-2", "c-9", "d-1")
    for folder in given:
        folder.with_name(f"{folder.name}.log").write_text("one line\nthe last line\n")
    with pytest.raises(UserError, match=r"bad-2: its training ended with status 1: the last line \(.*bad-2\.log\)"):
        list(trained(given, Processes(3)))
    a, bad, c = Pretended.begun
    assert (a.told, bad.told, c.told) == ([signal.SIGTERM], [], [signal.SIGTERM])
    assert a.waited
    assert c.waited


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_passed_on_to_all(number: int, folders: Callable[..., list[Path]]) -> None:
    """Each saves and ends, nothing more is begun, and the suite ends with their status."""
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        for _ in trained(folders("a-1", "b-9", "c-9", "d-9"), Processes(3)):
            os.kill(os.getpid(), number)  # a is over; b and c run
    assert ended.value.code == STATUS
    assert [each.folder.name for each in Pretended.begun] == ["a-1", "b-9", "c-9"]
    assert [number in each.told for each in Pretended.begun] == [False, True, True]
    assert signal.getsignal(number) is before


def test_a_signal_that_finds_nothing_running_ends_the_suite(folders: Callable[..., list[Path]]) -> None:
    """Between two trainings, too; after the last one there is nothing to stop."""
    with pytest.raises(SystemExit):
        for _ in trained(folders("a-1", "b-1"), Processes()):
            os.kill(os.getpid(), signal.SIGTERM)
    assert len(Pretended.begun) == 1
    for _ in trained(folders("c-1"), Processes()):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_training_that_did_not_listen_yet_is_no_failure(folders: Callable[..., list[Path]]) -> None:
    """The signal finds it at its imports, and it dies of it; killed by somebody else it is named."""
    with pytest.raises(SystemExit) as ended:
        for _ in trained(folders("a-1", "early-9"), Processes(2)):
            os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == STATUS
    a, killed = folders("a-1", "early-9")
    killed.with_name(f"{killed.name}.log").write_text("")
    with pytest.raises(UserError, match="early-9: its training ended with status -15: it said nothing"):
        for _ in trained([a, killed], Processes(2)):
            Pretended.begun[-1].send_signal(signal.SIGTERM)


def test_closed_early_it_leaves_no_training_behind(folders: Callable[..., list[Path]]) -> None:
    """What goes wrong between two trainings does not leave the others running."""
    with pytest.raises(OSError, match="disk full"), closing(trained(folders("a-1", "b-9"), Processes(2))) as ended:
        for _ in ended:
            raise OSError("disk full")
    assert Pretended.begun[1].told == [signal.SIGTERM]
    assert Pretended.begun[1].waited


@pytest.mark.parametrize(
    ("processes", "gpus"),
    [
        (Processes(3), ["3", "5", "3"]),
        (Processes(3, each=1), ["3", "5", "3"]),
        (Processes(3, each=2), ["3,5"] * 3),
        (Processes(1), ["3,5"] * 3),
    ],
)
def test_trainings_at_a_time_take_the_gpus_in_turn(
    processes: Processes, gpus: list[str], folders: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One each; a training that has all of them to itself, or several processes, sees them all."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    list(trained(folders("a-1", "b-1", "c-1"), processes))
    assert [each.gpu for each in Pretended.begun] == gpus
    assert all(("--nproc" in each.command) == (processes.each is not None) for each in Pretended.begun)


@pytest.mark.parametrize(
    ("processes", "told", "threads"),
    [
        (Processes(4), None, "4"),
        (Processes(4, each=2), None, "2"),
        (Processes(99), None, "1"),
        (Processes(4), "3", "3"),
        (Processes(1), None, None),
    ],
)
def test_trainings_at_a_time_share_the_cores(
    processes: Processes,
    told: str | None,
    threads: str | None,
    folders: Callable[..., list[Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of sixteen; unless the user says how many threads there are to be. One training alone is left as it is."""
    monkeypatch.setattr(crew, "cpu_count", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    list(trained(folders("a-1"), processes))
    assert Pretended.begun[0].threads == threads
