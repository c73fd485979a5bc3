"""A launcher that starts killed ranks again continues the run every time, with the bits of one that nothing disturbed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ranks import on_ranks
from test_kills import assert_same
from tiny_run import set_options, tiny

from distunlearn.engine import train as engine
from distunlearn.run_folder import METRICS

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

ROOT = Path(__file__).parents[2]
LAUNCHERS = {
    "torchrun": ("torchrun", "--standalone", "--nproc-per-node", "2"),
    "accelerate": ("accelerate", "launch", "--config_file", str(ROOT / "launch/accelerate/cpu.yaml"), "--num_processes", "2"),
}  # fmt: skip
RESTARTS = {"torchrun": "--max-restarts", "accelerate": "--max_restarts"}
SETTINGS = ("engine.checkpoint_minutes=0", "stages.0.epochs=15", "stages.1.epochs=15")
KILLED_AT = (10, 30, 50)
"""Lines of metrics, of 60 in all, after which a rank is killed."""


def _quiet(_rank: int, _world: int, shards: Path, run: Path) -> None:
    engine.train(tiny(shards, *SETTINGS), run)


@pytest.fixture(scope="module")
def quiet(planted_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two ranks that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "quiet"
    on_ranks(2, _quiet, planted_shards, run)
    return run


def launched(launcher: str, shards: Path, run: Path) -> subprocess.Popen[bytes]:
    """`distunlearn train` under a launcher that starts ranks again; what they print goes to RUN.log."""
    clean = {key: value for key, value in os.environ.items() if key not in {"RANK", "WORLD_SIZE", "MASTER_PORT"}}
    clean |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "GLOO_SOCKET_IFNAME": "lo"}
    command = (
        *LAUNCHERS[launcher], RESTARTS[launcher], str(len(KILLED_AT)), "-m", "distunlearn",
        "train", "--preset", "demo", "--shards", str(shards), "--out", str(run), *set_options(*SETTINGS),
    )  # fmt: skip
    with run.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env=clean, stdout=log, stderr=log)


def ranks_of(launcher: int) -> dict[int, int]:
    """Processes of the ranks that a launcher started, by rank."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    found = {}
    for child in children:
        environment = dict(
            entry.split(b"=", 1) for entry in Path(f"/proc/{child}/environ").read_bytes().split(b"\0") if b"=" in entry
        )
        if b"RANK" in environment:
            found[int(environment[b"RANK"])] = int(child)
    return found


def wait_for_lines(run: Path, lines: int, training: subprocess.Popen[bytes]) -> None:
    """Until metrics.jsonl holds so many."""
    path = run / METRICS
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert training.poll() is None, run.with_suffix(".log").read_text()
        time.sleep(0.01)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_that_starts_killed_ranks_again_loses_nothing(
    launcher: str, quiet: Path, planted_shards: Path, tmp_path: Path
) -> None:
    """Three times a rank is killed in one run: three times the launcher starts both again, and they go on."""
    run = tmp_path / "run"
    training = launched(launcher, planted_shards, run)
    for turn, lines in enumerate(KILLED_AT):
        wait_for_lines(run, lines, training)
        os.kill(ranks_of(training.pid)[turn % 2], signal.SIGKILL)
    assert training.wait(600) == 0, run.with_suffix(".log").read_text()
    assert run.with_suffix(".log").read_text().count("going on with stage") == len(KILLED_AT)
    assert json.loads((run / "STATUS.json").read_text())["state"] == "finished"
    assert_same(run, quiet)
