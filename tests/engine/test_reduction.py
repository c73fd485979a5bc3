"""What crosses ranks is counted, and what would let ranks drift apart is caught."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from ranks import batch_of, on_ranks, share_of
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from distunlearn.config import EngineConfig, StageConfig
from distunlearn.engine import reduction
from distunlearn.engine.diagnose import RankError, refuse_ranks_apart
from distunlearn.engine.meter import Meter
from distunlearn.engine.network import Network
from distunlearn.engine.reduction import Traffic, prime
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import Outcome, take_step
from distunlearn.engine.updates import build_updates
from distunlearn.methods import UnlearningConfig, phases_of
from distunlearn.models import DomainHeadConfig, DomainHeads, HeadConfig, TaskHead, VggConfig, build_encoder
from distunlearn.tasks import Regression, RegressionConfig

AUTHORS = VggConfig(channels=(32, 64, 64, 96, 96, 96), convolutions=(2, 2, 2, 3, 3, 3), norm="group")
INPUT = (32, 32, 8)
"""Small volumes: what travels depends on the parameters, not on the voxels."""


def parts() -> dict[str, nn.Module]:
    """The authors' network for small volumes, float32."""
    torch.manual_seed(0)
    encoder = build_encoder(AUTHORS, INPUT)
    heads = {
        "task_head": TaskHead(HeadConfig(), 96, 1),
        "domain_head": DomainHeads(DomainHeadConfig(), encoder.widths, 3),
    }
    return {"encoder": encoder, **heads}


def nbytes(part: nn.Module) -> int:
    """Bytes of a part's parameters."""
    return sum(parameter.nbytes for parameter in part.parameters())


def network(runtime: Runtime) -> Network:
    """The parts on this rank."""
    task = Regression(RegressionConfig(), torch.zeros(1), torch.ones(1))
    wrapped = {name: runtime.wrap(part) for name, part in parts().items()}
    prime(wrapped, (1, *INPUT))
    return Network(wrapped, task)


def step(net: Network, runtime: Runtime, world: int, *, pieces: int = 1, only: str = "") -> dict[str, Outcome]:
    """One step of unlearning on this rank's share, X_u being a batch of its own; of one phase alone if asked."""
    batches = {}
    for seed, role in enumerate(("main", "unlearn")):
        batch = batch_of(0, 8, seed=seed, shape=INPUT)
        batch = batch._replace(volume=batch.volume.float(), target=batch.target[:, :1].float())
        batches[role] = share_of(batch, torch.arange(runtime.rank, 8, world))
    method = UnlearningConfig()
    phases = [phase for phase in phases_of(method) if only in {"", phase.name}]
    updates = build_updates(StageConfig(name="s", method=method), net, runtime)
    return take_step(net, phases, batches, updates, pieces=pieces)


class Hooked:
    """Stands for the network on a pretended group: notes what is handed to it, and at which point of the computation."""

    def __init__(self) -> None:
        self.flops = FlopCounterMode(display=False)
        self.at: list[tuple[int, int]] = []

    def __call__(self, bucket: dist.GradBucket) -> Future[Tensor]:
        """A reduction that is done at once."""
        self.at.append((bucket.buffer().nbytes, self.flops.get_total_flops()))
        future: Future[Tensor] = Future()
        future.set_result(bucket.buffer())
        return future


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooked]:
    """Buckets go nowhere but into this."""
    hooked = Hooked()
    monkeypatch.setitem(reduction.REDUCTIONS, "none", lambda: hooked)
    yield hooked
    dist.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)


def pretend(world: int, monkeypatch: pytest.MonkeyPatch, **engine: Any) -> tuple[Runtime, Traffic]:
    """Rank 0 of a group whose other ranks are pretended."""
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": world, "MASTER_ADDR": "x", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
    AcceleratorState._reset_state(reset_partial_state=True)
    traffic = Traffic()
    runtime = Runtime(EngineConfig(**engine), traffic)
    assert runtime.world_size == world
    return runtime, traffic


@pytest.mark.parametrize("world", [2, 3, 8, 64])
def test_a_step_sends_each_phase_its_own_gradients(world: int, hooked: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes a step are 2·|encoder| + |task head| + |domain head|, in 8, 1 and 7 messages, on any number of ranks."""
    runtime, traffic = pretend(world, monkeypatch)
    net = network(runtime)
    encoder, task, domain = (nbytes(net.parts[part]) for part in ("encoder", "task_head", "domain_head"))
    traffic.take()
    sent = {}
    for phase in ("task", "domain", "confusion"):
        step(net, runtime, world, only=phase)
        sent[phase] = traffic.take()
    assert {phase: sum(buckets) for phase, buckets in sent.items()} == {
        "task": encoder + task, "domain": domain, "confusion": encoder,
    }  # fmt: skip
    assert [len(buckets) for buckets in sent.values()] == [8, 1, 7]
    for pieces in (1, 3):  # a batch in pieces is reduced once
        step(net, runtime, world, pieces=pieces)
        assert sum(traffic.take()) == 2 * encoder + task + domain
    assert sum(naive(world)) == 3 * (encoder + task + domain)


class Collectives(TorchDispatchMode):
    """Notes every message between ranks that this process takes part in."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pass every operation on."""
        if func.namespace == "c10d":
            self.sent.append(func.__name__.partition(".")[0])
        return func(*args, **(kwargs or {}))


def test_beside_gradients_a_line_of_metrics_sends_two_messages(hooked: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step sends its buckets and nothing else; figures and wishes are one message, the comparison of ranks another."""
    runtime, _ = pretend(8, monkeypatch)
    net = network(runtime)
    meter = Meter(runtime, {})
    hooked.at.clear()
    with Collectives() as gradients:
        meter.add(step(net, runtime, 8))
    assert len(hooked.at) == 16
    assert gradients.sent == []  # the hook stands where they would be sent
    with Collectives() as line:
        meter.read(save=False, stop=False)
        refuse_ranks_apart(runtime, net, 1)
    assert line.sent == ["allreduce_", "allreduce_"]


def naive(world: int) -> list[int]:
    """Bytes a bucket of three passes through one DDP over everything, with find_unused_parameters."""
    traffic: list[int] = []

    def hook(_state: None, bucket: dist.GradBucket) -> Future[Tensor]:
        traffic.append(bucket.buffer().nbytes)
        future: Future[Tensor] = Future()
        future.set_result(bucket.buffer())
        return future

    ddp = DistributedDataParallel(Whole(), find_unused_parameters=True)
    ddp.register_comm_hook(None, hook)
    for of_phase in ("task_head", "domain_head", "domain_head"):
        ddp(torch.zeros(2, 1, *INPUT), of_phase).sum().backward()
    return traffic


class Whole(nn.ModuleDict):
    """All parts in one module."""

    def __init__(self) -> None:
        super().__init__(parts())

    def forward(self, volume: Tensor, head_name: str) -> Tensor:
        """One head's output."""
        output: Tensor = self[head_name](self["encoder"](volume))
        return output


@pytest.mark.parametrize(("bucket_mb", "least", "most"), [(EngineConfig().bucket_mb, 0.98, 1.0), (25.0, 0.0, 0.2)])
def test_most_is_sent_while_the_backward_pass_goes_on(
    bucket_mb: float, least: float, most: float, hooked: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """98 % of the encoder's bytes are under way with half the backward pass's arithmetic still to come; 20 % with DDP's own buckets."""
    runtime, _ = pretend(2, monkeypatch, bucket_mb=bucket_mb)
    net = network(runtime)
    hooked.at.clear()
    with hooked.flops:
        step(net, runtime, 2, only="confusion")
    before = hooked.flops.get_total_flops() / 3  # the forward pass
    left = [(nbytes, 1 - (flops - before) / (2 * before)) for nbytes, flops in hooked.at]
    share = sum(nbytes for nbytes, rest in left if rest > 1 / 2) / sum(nbytes for nbytes, _ in left)
    assert least <= share <= most


def _drift(rank: int, world: int, schedule: str) -> None:
    """Two honest steps, then one in which a known mistake of three-phase training is made."""
    runtime = Runtime(EngineConfig())
    net = network(runtime)
    for _ in range(2):
        step(net, runtime, world)
    refuse_ranks_apart(runtime, net, 2)
    encoder = net.parts["encoder"]
    volume = batch_of(0, 8, seed=0, shape=INPUT).volume.float()[rank::world]
    rates = {name: torch.optim.SGD(part.parameters(), lr=0.1) for name, part in net.parts.items()}
    if schedule == "two backwards of one forward":
        features = encoder(volume)
        features.sum().backward(retain_graph=True)
        encoder.zero_grad()
        features.square().sum().backward()  # pytorch 47260: not reduced
        rates["encoder"].step()
    elif schedule == "two forwards before the first backward":
        first, second = encoder(volume), encoder(volume)
        first.sum().backward()
        encoder.zero_grad()
        second.square().sum().backward()
        rates["encoder"].step()
    elif schedule == "an optimiser's step is left out" and rank == 0:
        rates["task_head"].step()
    expected = {"an optimiser's step is left out": "task_head"}.get(schedule, "encoder")
    with pytest.raises(RankError, match=f"weights of {expected}:"):
        refuse_ranks_apart(runtime, net, 3)
    runtime.close()


@pytest.mark.distributed
@pytest.mark.parametrize(
    "schedule",
    [
        "two backwards of one forward",
        "two forwards before the first backward",
        "an optimiser's step is left out",
    ],
)
def test_ranks_that_drift_apart_are_caught(schedule: str) -> None:
    """A mistake that DDP makes without a word leaves ranks with other weights; the next comparison stops them all."""
    on_ranks(2, _drift, schedule)


def _compress(rank: int, world: int, folder: Path) -> None:
    gradients = {}
    reduction.EXACT_PASSES = 2  # those before the first step
    for compression in ("none", "bf16", "powersgd"):
        runtime = Runtime(EngineConfig(compression=compression))
        net = network(runtime)
        step(net, runtime, world, only="confusion")
        refuse_ranks_apart(runtime, net, 1)
        gradients[compression] = torch.cat([own.grad.flatten() for own in net.parts["encoder"].parameters()])
    torch.save(gradients, folder / f"{rank}.pt")
    runtime.close()


@pytest.mark.distributed
def test_compressed_gradients_are_near_the_exact_ones(tmp_path: Path) -> None:
    """bfloat16 on the way costs less than 1 % of the gradient's norm; two ranks of every matrix leave out more, and keep its direction.

    Every rank ends with the same weights.
    """
    on_ranks(2, _compress, tmp_path)
    found = torch.load(tmp_path / "0.pt", weights_only=True)
    exact = found.pop("none")
    error = {name: ((gradient - exact).norm() / exact.norm()).item() for name, gradient in found.items()}
    assert 0 < error["bf16"] < 0.01 < error["powersgd"] < 1, error
    assert torch.cosine_similarity(found["powersgd"], exact, dim=0) > 0.5, error
