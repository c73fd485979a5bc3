"""Local steps: between two averages ranks train by themselves and send nothing; after one they hold the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ranks import end_of, on_ranks, start
from safetensors.numpy import load_file
from test_step import distance, network, shares, weights
from tiny_run import tiny

from distunlearn.config import EngineConfig, StageConfig
from distunlearn.engine import stage
from distunlearn.engine import train as engine
from distunlearn.engine.checkpoint import optimiser_tensors
from distunlearn.engine.local import Averaging
from distunlearn.engine.network import Network
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import take_step
from distunlearn.engine.update import Update
from distunlearn.engine.updates import build_updates
from distunlearn.methods import UnlearningConfig, phases_of

PERIOD = 3
STEPS = 4
"""The third ends a period, the fourth a line of metrics."""
STAGE = StageConfig(name="s", method=UnlearningConfig(), learning_rate=1e-2)


def one_step(net: Network, updates: dict[str, Update], step: int, rank: int, world: int) -> None:
    """A step on a rank's share of a batch."""
    take_step(net, phases_of(STAGE.method), shares(step, rank, world, layout="dealt", distinct=True), updates)


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a message in a local step")


def _train(rank: int, world: int, folder: Path) -> None:
    runtime = Runtime(EngineConfig(average_every=PERIOD))
    net = network(runtime, "group")
    updates, honest = build_updates(STAGE, net, runtime), dist.all_reduce
    averaging = Averaging((value for part in net.parts.values() for value in part.parameters()), updates, PERIOD)
    for step in range(1, STEPS + 1):
        dist.all_reduce = _refuse
        one_step(net, updates, step, rank, world)
        own = weights(net)
        dist.all_reduce = honest
        averaging.after(step, now=step == STEPS)
        moments = [optimiser_tensors(name, update.optimiser)[0] for name, update in updates.items()]
        torch.save((own, weights(net), moments), folder / f"{step}-{rank}.pt")
    runtime.close()


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks held after each step, before and after its average."""
    folder = tmp_path_factory.mktemp("local")
    on_ranks(2, _train, folder)
    return folder


@pytest.mark.distributed
def test_local_steps_are_averaged_and_nothing_else_is_sent(stepped: Path) -> None:
    """Ranks differ before an average and hold the mean after it; at a line of metrics also what Adam remembers is the same."""
    for step in range(1, STEPS + 1):
        saved = [torch.load(stepped / f"{step}-{rank}.pt", weights_only=True) for rank in range(2)]
        owns, afters, moments = zip(*saved, strict=True)
        assert distance(owns[0], owns[1]) > 1e-3
        for key in owns[0]:
            mean = torch.stack([own[key] for own in owns]).mean(0)
            for own, after in zip(owns, afters, strict=True):
                assert torch.allclose(after[key], mean if step >= PERIOD else own[key], rtol=0, atol=1e-12)
        if step == STEPS:
            assert all(torch.equal(afters[0][key], afters[1][key]) for key in afters[0])
            for of_update in zip(*moments, strict=True):
                assert all(torch.equal(of_update[0][key], of_update[1][key]) for key in of_update[0])


@pytest.mark.distributed
def test_a_local_step_is_a_step_on_the_ranks_own_share(stepped: Path) -> None:
    """Before the first average a rank's weights are those of a process that never heard of the other (float64)."""
    for rank in range(2):
        net = network(norm="group")
        updates = build_updates(STAGE, net, Runtime(EngineConfig()))
        for update in updates.values():
            update._world_size = 2  # a share of the loss, scaled so that the mean over ranks is the whole
        for step in range(1, PERIOD + 1):
            one_step(net, updates, step, rank, 2)
        own, _, _ = torch.load(stepped / f"{PERIOD}-{rank}.pt", weights_only=True)
        assert distance(own, weights(net)) < 1e-10


def _run(rank: int, _world: int, shards: Path, run: Path, cut: int) -> None:
    honest, steps = stage.take_step, iter(range(1, 1000))

    def power_cut(*arguments: Any, **options: Any) -> Any:
        if next(steps) == cut:
            raise KeyboardInterrupt
        return honest(*arguments, **options)

    stage.take_step = power_cut
    engine.train(tiny(shards, "engine.checkpoint_minutes=0", f"engine.average_every={PERIOD}"), run)


@pytest.mark.slow
@pytest.mark.distributed
def test_a_run_of_local_steps_goes_on_where_it_was_stopped(planted_shards: Path, tmp_path: Path) -> None:
    """Cut off in the middle of a period: the same bits as undisturbed, and others than with exact reduction."""
    on_ranks(2, _run, planted_shards, tmp_path / "quiet", 0)
    end_of(start(2, _run, planted_shards, tmp_path / "cut", 6))
    on_ranks(2, _run, planted_shards, tmp_path / "cut", 0)
    expected, found = (load_file(tmp_path / run / "unlearning/model/model.safetensors") for run in ("quiet", "cut"))
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
