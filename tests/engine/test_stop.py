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
import torch
from safetensors.numpy import load_file
from tiny_run import tiny

from distunlearn.engine import train as engine
from distunlearn.engine.checkpoint import newest, random_state, restore_random_state
from distunlearn.engine.stop import SIGNALS, STATUS

# A rank that is told to stop in the middle of its third step, if it is the one to be told.
SIGNALLED = """
import os, signal, sys
from pathlib import Path
from distunlearn.engine import train as engine
from tiny_run import tiny
honest, steps = engine.take_step, iter(range(1, 1000))
def told(*arguments, **named):
    if next(steps) == 3 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return honest(*arguments, **named)
engine.take_step = told
engine.train(tiny(Path(sys.argv[1])), Path(sys.argv[2]))
"""

QUIET = """
import sys
from pathlib import Path
from distunlearn.engine import train as engine
from tiny_run import tiny
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

    def told(*arguments: object, **named: object) -> object:
        if next(steps) in {3, 4}:  # a second signal changes nothing
            os.kill(os.getpid(), number)
        return honest(*arguments, **named)  # type: ignore[arg-type]

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
    """The signal reaches rank 1 only: both save at the same step and end with 75, and go on to a quiet run's weights."""
    assert two_ranks(SIGNALLED, planted_shards, tmp_path) == [STATUS, STATUS]
    found, damaged = newest(tmp_path / "checkpoints")
    assert found is not None
    assert found.state["step"] == 4
    assert not damaged
    assert two_ranks(QUIET, planted_shards, tmp_path) == [0, 0]
    assert two_ranks(QUIET, planted_shards, tmp_path / "quiet") == [0, 0]
    expected, found_weights = weights(tmp_path / "quiet"), weights(tmp_path)
    assert all(np.array_equal(expected[name], found_weights[name]) for name in expected)


def two_ranks(code: str, shards: Path, run: Path) -> list[int]:
    """Run code on two ranks as srun starts them; their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(shards), str(run)],
            cwd=Path(__file__).parents[1],
            env=os.environ | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo",
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    return [rank.wait(timeout=120) for rank in ranks]


def test_every_rank_gets_its_own_random_state_back() -> None:
    """A checkpoint holds the ranks' states as rows of one tensor; each row can be put back and continues its stream."""
    cpu = torch.device("cpu")
    states, expected = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        states.append(random_state(cpu))
        expected.append(torch.rand(5))
    rows = torch.stack(states)
    for rank in (2, 0, 1):
        restore_random_state(rows[rank], cpu)
        assert torch.equal(torch.rand(5), expected[rank])
