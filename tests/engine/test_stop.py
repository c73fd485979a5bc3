"""A scheduler's signal stops all ranks at one step, with everything saved."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_run import tiny

from distunlearn.engine import train as engine
from distunlearn.engine.checkpoint import newest
from distunlearn.engine.stop import SIGNALS, STATUS

# A rank that is told to stop in the middle of its third step, if it is the one to be told.
SIGNALLED = """
import os, signal, sys
from pathlib import Path
from distunlearn.engine import train as engine
from tiny_run import tiny
honest, steps = engine.take_step, iter(range(1, 1000))
def told(*arguments):
    if next(steps) == 3 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return honest(*arguments)
engine.take_step = told
engine.train(tiny(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def weights(run: Path) -> dict[str, np.ndarray]:
    """The weights of a run's last stage."""
    return load_file(run / "unlearning" / "model" / "model.safetensors")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signalled_run_stops_and_goes_on(
    planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The signal comes in the middle of a step: status 75, a checkpoint, and in the end the weights of a quiet run."""
    config = tiny(planted_shards)
    engine.train(config, tmp_path / "quiet")
    honest, steps = engine.take_step, iter(range(1, 1000))

    def told(*arguments: object) -> object:
        if next(steps) in {3, 4}:  # a second signal changes nothing
            os.kill(os.getpid(), number)
        return honest(*arguments)  # type: ignore[arg-type]

    before = signal.getsignal(number)
    monkeypatch.setattr(engine, "take_step", told)
    with pytest.raises(SystemExit) as ended:
        engine.train(config, tmp_path / "told")
    assert ended.value.code == STATUS
    assert signal.getsignal(number) == before
    assert json.loads((tmp_path / "told/STATUS.json").read_text())["state"] == "stopped"
    monkeypatch.setattr(engine, "take_step", honest)
    engine.train(config, tmp_path / "told")
    expected, found = weights(tmp_path / "quiet"), weights(tmp_path / "told")
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


@pytest.mark.distributed
def test_one_rank_that_is_told_stops_all(planted_shards: Path, tmp_path: Path) -> None:
    """The signal reaches rank 1 only: both ranks save at the same step and end with status 75."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SIGNALLED, str(planted_shards), str(tmp_path)],
            cwd=Path(__file__).parents[1],
            env=os.environ | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo",
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    assert [rank.wait(timeout=120) for rank in ranks] == [STATUS, STATUS]
    found, damaged = newest(tmp_path / "checkpoints")
    assert found is not None
    assert found.state["step"] == 4
    assert not damaged
