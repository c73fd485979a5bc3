"""What must hold on a CUDA device: the same weights, no waiting for it, levers near float32, runs that go on.

None of this runs where there is no such device; `benchmarks/gpu.sh` runs it all and says on what.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import on_ranks
from test_golden import GOLDEN, trajectory
from test_settings import LEVERS, gradients
from test_step import CONFIGS, distance, network, on, shares, trained, weights
from tiny_run import tiny
from torch.nn.parallel import DistributedDataParallel

from distunlearn.config import EngineConfig, StageConfig
from distunlearn.engine.reduction import REDUCTIONS, Traffic, reduce_by
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import take_step
from distunlearn.engine.train import train
from distunlearn.engine.updates import build_updates
from distunlearn.errors import UserError
from distunlearn.methods import AlignmentConfig, MethodConfig, phases_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

# Losses whose number of groups is known only when the groups that occur have been counted on the device.
COUNTING = ("mmd", "coral")


@pytest.fixture(autouse=True)
def _plain_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_give_the_weights_of_a_cpu(name: str) -> None:
    """Four steps of every method end at the weights of the same steps on a CPU (float64)."""
    config = CONFIGS[name]
    found, expected = trained(config, runtime=Runtime(EngineConfig())), trained(config)
    assert all(value.is_cuda for value in found.values())
    moved = distance(expected, weights(network()))
    assert moved > 1e-2
    assert distance({key: value.cpu() for key, value in found.items()}, expected) < 1e-8 * moved


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in COUNTING])
def test_a_step_does_not_wait_for_the_device(name: str) -> None:
    """No copy to the host and no blocking copy to the device in a step; one of either would raise here."""
    runtime = Runtime(EngineConfig())
    net = network(runtime)
    phases = phases_of(CONFIGS[name])
    updates = build_updates(StageConfig(name="s", method=CONFIGS[name]), net, runtime)
    batches = on(runtime.device, shares(0, 0, 1, layout="dealt", distinct=True))
    take_step(net, phases, batches, updates)  # the first one builds the optimisers' state
    torch.cuda.set_sync_debug_mode("error")
    try:
        take_step(net, phases, batches, updates)
        with pytest.raises(RuntimeError, match="synchronizing"):
            batches["main"].batch.volume.sum().item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    ("engine", "error"), [*LEVERS, ({"precision": "bf16", "channels_last": True, "fused": True}, 0.2)]
)
def test_a_lever_stays_near_plain_float32(engine: dict[str, Any], error: float) -> None:
    """Levers change digits of the gradient; half precision stays within its own, as on a CPU."""
    plain, other = gradients(), gradients(**engine)
    assert (other - plain).norm() / plain.norm() < error


def _compile_on_rank(_rank: int, _world: int, folder: Path) -> None:
    torch.backends.cudnn.allow_tf32 = False
    torch.save((gradients().cpu(), gradients(compile=True).cpu()), folder / "gradients.pt")


def test_a_compiled_encoder_stays_near_plain_float32(tmp_path: Path) -> None:
    """In a process of its own, since what checks shapes in tests cannot be compiled."""
    on_ranks(1, _compile_on_rank, tmp_path)
    plain, compiled = torch.load(tmp_path / "gradients.pt", weights_only=True)
    assert (compiled - plain).norm() / plain.norm() < 1e-3


def test_the_golden_trajectory_begins_here_too(planted_shards: Path) -> None:
    """The first task loss, before dropout has had a say, is the one that was found on a CPU."""
    first = dict(zip(*(line.split(",") for line in GOLDEN.read_text().splitlines()[:2]), strict=True))
    assert trajectory(planted_shards, steps=1)[0]["task"] == pytest.approx(float(first["task"]), rel=1e-4)


def test_a_run_that_cannot_be_deterministic_is_refused(planted_shards: Path, tmp_path: Path) -> None:
    """Max-pooling of volumes has no deterministic backward pass on GPUs: one line says so, nothing goes on in silence."""
    try:
        with pytest.raises(UserError, match=r"engine\.deterministic: max_pool3d"):
            train(tiny(planted_shards, "engine.deterministic=true"), tmp_path)
    finally:
        torch.use_deterministic_algorithms(False)


def _train_on_rank(rank: int, world: int, folder: Path) -> None:
    os.environ["LOCAL_RANK"] = "0"  # one device for both: NCCL refuses that, gloo does not
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    runtime = Runtime(EngineConfig(bucket_mb=0.001))
    for name in ("unlearning", "alignment"):
        found = trained(CONFIGS[name], rank, world, runtime=runtime, norm="group")
        torch.save({key: value.cpu() for key, value in found.items()}, folder / f"{name}-{rank}.pt")
    runtime.close()


@pytest.mark.distributed
def test_two_ranks_on_one_device_are_one_process(tmp_path: Path) -> None:
    """Two processes that share the device and reduce over gloo end at the weights of one (float64)."""
    on_ranks(2, _train_on_rank, tmp_path)
    for name in ("unlearning", "alignment"):
        expected = trained(CONFIGS[name], norm="group")
        for rank in range(2):
            found = torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True)
            assert distance(found, expected) < 1e-8


def _nccl_on_rank(rank: int, world: int, folder: Path) -> None:
    torch.cuda.set_device(0)
    torch.distributed.init_process_group("nccl", rank=rank, world_size=world)
    for compression in REDUCTIONS:
        torch.manual_seed(0)
        part = torch.nn.Linear(64, 64).cuda()
        values = torch.randn(32, 64, device="cuda")
        part(values).square().sum().backward()
        expected = part.weight.grad.clone()
        part.zero_grad()
        traffic = Traffic()
        wrapped = DistributedDataParallel(part, device_ids=[0])
        reduce_by(wrapped, compression, traffic)
        wrapped(values).square().sum().backward()
        torch.save((expected.cpu(), part.weight.grad.cpu(), traffic.take()), folder / f"{compression}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.distributed
def test_gradients_pass_through_nccl(tmp_path: Path) -> None:
    """Each way of reducing works over NCCL (a world of one: a second rank would need a second device)."""
    on_ranks(1, _nccl_on_rank, tmp_path)
    for compression, error in {"none": 1e-6, "bf16": 1e-2, "powersgd": 1e-6}.items():  # powersgd begins exactly
        expected, found, buckets = torch.load(tmp_path / f"{compression}.pt", weights_only=True)
        assert sum(buckets) == 4 * (64 * 64 + 64)
        assert (found - expected).norm() / expected.norm() < error


def test_memory_stays_flat() -> None:
    """After the first steps nothing more is allocated, step after step."""
    runtime = Runtime(EngineConfig())
    net = network(runtime)
    config: MethodConfig = AlignmentConfig()
    updates = build_updates(StageConfig(name="s", method=config), net, runtime)
    batches = on(runtime.device, shares(0, 0, 1, layout="dealt", distinct=True))
    held = []
    for _ in range(12):
        take_step(net, phases_of(config), batches, updates)
        held.append(torch.cuda.memory_allocated())
    assert held[-1] == held[2]
