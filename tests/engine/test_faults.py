"""Whatever happens to one rank, all end soon, the first cause is what the user reads, and nothing that was saved is lost."""

import json
import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from ranks import end_of, start
from tiny_run import tiny

from distunlearn.engine import faults, saver, stage
from distunlearn.engine import train as engine
from distunlearn.engine.checkpoint import newest
from distunlearn.engine.job import Job
from distunlearn.engine.network import Network
from distunlearn.engine.record import hold

AT = 5
"""The step, counted from 1, in the middle of which something happens."""


SOON = 15
"""Seconds in which all ranks end after one has."""
FROZEN = 60
"""Seconds in which the others end after one has stopped answering: timeouts of messages, and, where it is rank 0, of the
store in which they look for signs of life, follow each other."""


def _at_step(action: Any) -> None:
    """Do something in the middle of step AT of this process."""
    honest, steps = stage.take_step, iter(range(1, 1000))

    def disturbed(*arguments: Any, **options: Any) -> Any:
        if next(steps) == AT:
            action()
        return honest(*arguments, **options)

    stage.take_step = disturbed


def _raise() -> None:
    raise ValueError("the scan of the third man")


def _frozen() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


ACCIDENTS: dict[str, tuple[Any, str]] = {
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), faults.ENDED),
    "left": (lambda: os._exit(0), faults.ENDED),
    "raises": (_raise, "ValueError: the scan of the third man"),
    "frozen": (_frozen, faults.ENDED),
}


def _train(rank: int, _world: int, shards: Path, run: Path, victim: int, accident: str) -> None:
    if rank == victim:
        _at_step(ACCIDENTS[accident][0])
    faults.LISTEN = 1.5
    timeout = 0.05 if accident == "frozen" else 1.0
    engine.train(tiny(shards, "engine.checkpoint_minutes=0", f"engine.timeout_minutes={timeout}"), run)


def wait_until_stopped(rank: BaseProcess) -> None:
    """Until SIGSTOP has reached a process, so that what follows is timed from there however slowly it began."""
    stat, until = Path(f"/proc/{rank.pid}/stat"), time.monotonic() + 120
    while stat.read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < until, "the rank was not stopped"
        time.sleep(0.05)


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("accident", "world", "victim"),
    [
        ("killed", 3, 1), ("killed", 2, 0), ("raises", 3, 2), ("raises", 2, 0), ("frozen", 2, 1),
        pytest.param("killed", 3, 0, marks=pytest.mark.slow),
        pytest.param("killed", 3, 2, marks=pytest.mark.slow),
        pytest.param("left", 2, 1, marks=pytest.mark.slow),
        pytest.param("left", 3, 0, marks=pytest.mark.slow),
        pytest.param("raises", 3, 0, marks=pytest.mark.slow),
        pytest.param("frozen", 3, 0, marks=pytest.mark.slow),
        pytest.param("frozen", 3, 2, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_all_ranks_end_and_name_the_first_cause(
    accident: str, world: int, victim: int, planted_shards: Path, tmp_path: Path
) -> None:
    """A rank is killed, leaves, raises or freezes: the others end with an error, each naming that rank, and so does STATUS.json."""
    run = tmp_path / "run"
    ranks = start(world, _train, planted_shards, run, victim, accident, log=tmp_path / "log")
    others = [rank for rank in range(world) if rank != victim]
    if accident == "frozen":
        wait_until_stopped(ranks[victim])
        statuses = end_of([ranks[rank] for rank in others], FROZEN)
    else:
        ranks[victim].join(120)
        statuses = end_of([ranks[rank] for rank in others], SOON)
    ranks[victim].kill()
    assert statuses == [2] * len(others)
    for rank in others:
        last = (tmp_path / "log" / str(rank)).read_text().strip().splitlines()[-1]
        assert last.startswith(f"distunlearn: rank {victim}: {ACCIDENTS[accident][1]}"), last
    status = json.loads((run / "STATUS.json").read_text())
    assert (status["state"], status["rank"], status["reason"]) == ("failed", victim, ACCIDENTS[accident][1])
    found, damaged = newest(run / "checkpoints")
    assert found is not None
    assert found.state["step"] == AT - 1
    assert not damaged


MOMENTS: dict[str, tuple[Any, str]] = {
    "builds": (engine, "build"),
    "reads": (Job, "steps"),
    "saves": (saver, "save"),
    "validates": (stage, "validate"),
    "ends a stage": (stage, "finish_stage"),
}
"""What a rank may be about when it is killed, beside training."""


def _train_until(rank: int, _world: int, shards: Path, run: Path, victim: int, moment: str) -> None:
    if rank == victim:
        setattr(*MOMENTS[moment], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    engine.train(tiny(shards, "engine.checkpoint_minutes=0"), run)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_kill_at_any_moment_ends_all_ranks_soon(
    moment: str, victim: int, planted_shards: Path, tmp_path: Path
) -> None:
    """While it builds, reads, saves, validates or ends a stage: the other rank ends within 15 s, names it, and so does STATUS.json."""
    if (moment, victim) == ("saves", 1):
        pytest.skip("rank 0 alone saves")
    run = tmp_path / "run"
    ranks = start(2, _train_until, planted_shards, run, victim, moment, log=tmp_path / "log")
    ranks[victim].join(120)
    assert ranks[victim].exitcode == -signal.SIGKILL
    assert end_of([ranks[1 - victim]], SOON) == [2]
    last = (tmp_path / "log" / str(1 - victim)).read_text().strip().splitlines()[-1]
    assert last.startswith(f"distunlearn: rank {victim}: {faults.ENDED}"), last
    if moment != "builds":  # else there is no run folder yet
        status = json.loads((run / "STATUS.json").read_text())
        assert (status["state"], status["rank"], status["reason"]) == ("failed", victim, faults.ENDED)
        _, damaged = newest(run / "checkpoints")
        assert not damaged


def _train_without_a_phase(rank: int, _world: int, shards: Path, run: Path) -> None:
    honest, steps = stage.take_step, iter(range(1, 1000))

    def take_step(network: Network, phases: Any, *arguments: Any, **options: Any) -> Any:
        left_out = rank == 1 and next(steps) == AT
        return honest(network, phases[:-1] if left_out else phases, *arguments, **options)

    stage.take_step = take_step
    method = "stages.0.method={name: unlearning}"
    engine.train(tiny(shards, "engine.checkpoint_minutes=0", "engine.timeout_minutes=0.1", method), run)


@pytest.mark.distributed
def test_a_phase_that_one_rank_leaves_out_ends_the_run(planted_shards: Path, tmp_path: Path) -> None:
    """Its messages meet those of another phase: all ranks end with an error, and nothing of it is saved."""
    run = tmp_path / "run"
    statuses = end_of(start(2, _train_without_a_phase, planted_shards, run, log=tmp_path / "log"))
    assert None not in statuses
    assert 0 not in statuses
    found, damaged = newest(run / "checkpoints")
    assert found is not None
    assert found.state["step"] == AT - 1
    assert not damaged


def _train_plainly(_rank: int, _world: int, shards: Path, run: Path) -> None:
    engine.train(tiny(shards), run)


@pytest.mark.distributed
def test_a_second_trainer_of_two_ranks_is_refused(planted_shards: Path, tmp_path: Path) -> None:
    """All its ranks end soon, with the same cause, and the folder is left as it is."""
    with hold(tmp_path):
        ranks = start(2, _train_plainly, planted_shards, tmp_path, log=tmp_path / "log")
        assert end_of(ranks) == [2, 2]
    for rank in range(2):
        last = (tmp_path / "log" / str(rank)).read_text().strip().splitlines()[-1]
        assert "another process is training there" in last
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "log"}
