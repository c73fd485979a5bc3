"""A step moves what it should, on any number of ranks as on one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distunlearn.config import EngineConfig, StageConfig
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import Network, StepBatch, take_step, unwrapped
from distunlearn.engine.train import build_optimisers
from distunlearn.methods import METHODS, MethodConfig, StandardConfig, UnlearningConfig, phases_of
from distunlearn.models import HeadConfig, VggConfig, build_encoder, head
from distunlearn.tasks import Regression, RegressionConfig
from ranks import batch_of, on_ranks, share_of

CONFIGS: dict[str, MethodConfig] = {
    "standard": StandardConfig(),
    "unlearning": UnlearningConfig(domain_steps=2, beta=0.7),
}
LAYOUTS = {
    "dealt": lambda batch, rank, world: torch.arange(rank, len(batch.domain), world),
    "one site a rank": lambda batch, rank, world: torch.nonzero(batch.domain % world == rank).squeeze(1),
    "an idle rank": lambda batch, rank, world: torch.arange(len(batch.domain) if rank == 0 else 0),
}


def parts(dtype: torch.dtype = torch.float64) -> dict[str, nn.Module]:
    """Small parts of Fig. 1, the same at every call."""
    torch.manual_seed(0)
    built = {
        "encoder": build_encoder(VggConfig(channels=(4, 6), features=5), (8, 8, 4)),
        "task_head": head(HeadConfig(hidden=4), 5, 1),
        "domain_head": head(HeadConfig(hidden=4), 5, 3),
    }
    with torch.no_grad():  # a head with an opinion: at the uniform answer the confusion has no gradient to speak of
        built["domain_head"][-1].weight.mul_(20)
    return {name: module.to(dtype) for name, module in built.items()}


def network(wrap=lambda part: part) -> Network:  # noqa: ANN001
    """The parts with a task in plain units."""
    task = Regression(RegressionConfig(), torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    return Network({name: wrap(module) for name, module in parts().items()}, task)


def shares(step: int, rank: int, world: int, *, layout: str, distinct: bool) -> StepBatch:
    """This rank's share of a step, X_u being X_p or a batch of its own."""
    main = batch_of(step, 11, seed=0)
    mine = share_of(main, LAYOUTS[layout](main, rank, world))
    if not distinct:
        return {"main": mine, "unlearn": mine}
    other = batch_of(step, 7, seed=1)
    return {"main": mine, "unlearn": share_of(other, LAYOUTS[layout](other, rank, world))}


def weights(net: Network) -> dict[str, Tensor]:
    """All weights by name, as copies."""
    return {
        f"{part}.{name}": value.clone()
        for part, module in net.parts.items()
        for name, value in unwrapped(module).state_dict().items()
    }


def trained(
    config: MethodConfig,
    rank: int = 0,
    world: int = 1,
    *,
    steps: int = 4,
    layout: str = "dealt",
    distinct: bool = True,
    wrap=lambda part: part,
) -> dict[str, Tensor]:  # noqa: ANN001
    """Weights after a few steps."""
    net = network(wrap)
    optimisers = build_optimisers(StageConfig(name="s", method=config, learning_rate=1e-2), net)
    for step in range(steps):
        take_step(
            net, phases_of(config), shares(step, rank, world, layout=layout, distinct=distinct), optimisers, world
        )
    return weights(net)


def distance(these: dict[str, Tensor], those: dict[str, Tensor]) -> float:
    """Euclidean distance of two sets of weights."""
    return torch.cat([(these[key] - those[key]).flatten() for key in these]).norm().item()


def test_every_method_is_tried() -> None:
    """No method is left out of these tests."""
    assert set(CONFIGS) == set(METHODS)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_phase_moves_its_own_parts_only(name: str) -> None:
    """Each phase changes every tensor of the parts that it updates and not one bit of the others."""
    net = network()
    stage = StageConfig(name="s", method=CONFIGS[name], learning_rate=1e-2)
    for phase in phases_of(CONFIGS[name]):
        before = weights(net)
        take_step(net, (phase,), shares(0, 0, 1, layout="dealt", distinct=True), build_optimisers(stage, net), 1)
        moved = {key for key, value in weights(net).items() if not torch.equal(value, before[key])}
        assert moved == {key for key in before if key.split(".")[0] in phase.updates}, phase.name


def test_sharing_a_forward_changes_nothing() -> None:
    """Encoding X_u once for the domain and the confusion update gives bit for bit the weights of the paper's re-encoding."""
    for distinct in (True, False):
        once = trained(UnlearningConfig(share_forward=True), distinct=distinct)
        again = trained(UnlearningConfig(share_forward=False), distinct=distinct)
        assert all(torch.equal(once[key], again[key]) for key in once)


def test_alpha_and_beta_do_nothing_under_adam() -> None:
    """With one Adam a loss, weights of the losses a hundred times larger leave the network where it would be anyway."""
    plain, heavy = trained(UnlearningConfig()), trained(UnlearningConfig(alpha=100.0, beta=100.0))
    assert distance(plain, heavy) < 1e-3 * distance(plain, weights(network()))


def _train_on_rank(rank: int, world: int, folder: Path, name: str, layout: str, distinct: bool) -> None:
    runtime = Runtime(EngineConfig(bucket_mb=0.001))  # many buckets
    torch.save(
        trained(CONFIGS[name], rank, world, layout=layout, distinct=distinct, wrap=runtime.wrap), folder / f"{rank}.pt"
    )
    runtime.close()


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("world", "layout", "name", "distinct"),
    [
        (2, "dealt", "unlearning", True),
        (3, "one site a rank", "unlearning", True),
        (2, "an idle rank", "unlearning", False),
        (2, "one site a rank", "standard", False),
    ],
)
def test_any_number_of_ranks_is_one_process(world: int, layout: str, name: str, distinct: bool, tmp_path: Path) -> None:
    """Steps on several ranks with uneven shares give the weights of one process that holds the whole batch (float64)."""
    on_ranks(world, _train_on_rank, tmp_path, name, layout, distinct)
    expected = trained(CONFIGS[name], distinct=distinct)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(world)]
    for key, value in expected.items():
        assert all(torch.equal(found[0][key], other[key]) for other in found), f"ranks differ in {key}"
        assert torch.allclose(found[0][key], value, rtol=0, atol=1e-10), key
