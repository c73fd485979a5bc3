"""A scheduler's signal stops all ranks at one step, with everything saved."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import end_of, on_ranks, start
from safetensors.numpy import load_file
from tiny_run import tiny

from distunlearn.engine import stage
from distunlearn.engine import train as engine
from distunlearn.engine.checkpoint import newest, random_state, restore_random_state
from distunlearn.engine.stop import SIGNALS, STATUS


def weights(run: Path) -> dict[str, np.ndarray]:
    """The weights of a run's last stage."""
    return load_file(run / "unlearning" / "model" / "model.safetensors")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signalled_run_stops_and_goes_on(
    planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The signal comes in the middle of a step: status 75, a checkpoint, and in the end the weights of a quiet run.

    On its way out the process is deaf: launchers terminate the ranks that are left as soon as one has ended.
    """
    config = tiny(planted_shards)
    engine.train(config, tmp_path / "quiet")
    honest, steps = stage.take_step, iter(range(1, 1000))

    def told(*arguments: object, **options: object) -> object:
        if next(steps) in {3, 4}:  # a second signal changes nothing
            os.kill(os.getpid(), number)
        return honest(*arguments, **options)  # type: ignore[arg-type]

    before = {each: signal.getsignal(each) for each in SIGNALS}
    monkeypatch.setattr(stage, "take_step", told)
    with pytest.raises(SystemExit) as ended:
        engine.train(config, tmp_path / "told")
    assert ended.value.code == STATUS
    for each, handler in before.items():
        os.kill(os.getpid(), each)  # would end this process
        signal.signal(each, handler)
    assert json.loads((tmp_path / "told/STATUS.json").read_text())["state"] == "stopped"
    monkeypatch.setattr(stage, "take_step", honest)
    engine.train(config, tmp_path / "told")
    assert {each: signal.getsignal(each) for each in SIGNALS} == before  # a run that ends by itself hears again
    expected, found = weights(tmp_path / "quiet"), weights(tmp_path / "told")
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def _rank(rank: int, _world: int, shards: Path, run: Path, told_rank: int | None, *settings: str) -> None:
    honest, steps = stage.take_step, iter(range(1, 1000))

    def told(*arguments: object, **options: object) -> object:
        if next(steps) == 3 and rank == told_rank:
            os.kill(os.getpid(), signal.SIGTERM)
        return honest(*arguments, **options)  # type: ignore[arg-type]

    stage.take_step = told  # type: ignore[assignment]
    engine.train(tiny(shards, *settings), run)


@pytest.mark.distributed
def test_one_rank_that_is_told_stops_all(planted_shards: Path, tmp_path: Path) -> None:
    """The signal reaches rank 1 only: both save at the same step and end with 75, and go on to a quiet run's weights."""
    run = tmp_path / "told"
    assert end_of(start(2, _rank, planted_shards, run, 1)) == [STATUS, STATUS]
    found, damaged = newest(run / "checkpoints")
    assert found is not None
    assert found.state["step"] == 4
    assert not damaged
    on_ranks(2, _rank, planted_shards, run, None)
    on_ranks(2, _rank, planted_shards, tmp_path / "quiet", None)
    expected, found_weights = weights(tmp_path / "quiet"), weights(run)
    assert all(np.array_equal(expected[name], found_weights[name]) for name in expected)


# Plain gradient descent and no dropout: ranks draw it for themselves, and Adam makes a step of a last digit.
EXACT = ("domain_head.dropout=0", "encoder.norm=group", "stages.0.optimiser=sgd", "stages.1.optimiser=sgd")


@pytest.mark.distributed
def test_a_stopped_run_may_go_on_with_another_number_of_ranks(planted_shards: Path, tmp_path: Path) -> None:
    """The plan knows of no ranks: begun on two and ended on one, the weights are those of one process to the last digits."""
    assert end_of(start(2, _rank, planted_shards, tmp_path / "told", 1, *EXACT)) == [STATUS, STATUS]
    engine.train(tiny(planted_shards, *EXACT), tmp_path / "told")
    engine.train(tiny(planted_shards, *EXACT), tmp_path / "quiet")
    expected, found = weights(tmp_path / "quiet"), weights(tmp_path / "told")
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-6, err_msg=name)


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
