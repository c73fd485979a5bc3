"""A step moves what it should, on any number of ranks as on one."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import batch_of, on_ranks, share_of
from torch import Tensor, nn

from distunlearn import distances
from distunlearn.config import EngineConfig, StageConfig
from distunlearn.engine.network import Network, unwrapped
from distunlearn.engine.phase_loss import phase_loss
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.share import RoleBatch, StepBatch
from distunlearn.engine.step import encode, take_step
from distunlearn.engine.updates import build_updates
from distunlearn.methods import (
    METHODS,
    SITE,
    AlignmentConfig,
    Confound,
    ErasureConfig,
    JointConfig,
    MethodConfig,
    ReversalConfig,
    StandardConfig,
    UnlearningConfig,
    head_of,
    phases_of,
    role_of,
)
from distunlearn.models import DomainHeadConfig, DomainHeads, HeadConfig, TaskHead, VggConfig, build_encoder
from distunlearn.models.norm import Norm
from distunlearn.tasks import Regression, RegressionConfig

BOTH = (SITE, "sex")
CONFIGS: dict[str, MethodConfig] = {
    "standard": StandardConfig(),
    "standard, taught": StandardConfig(teach=0.5, confounds=BOTH),
    "unlearning": UnlearningConfig(domain_steps=2, beta=0.7),
    "unlearning of two": UnlearningConfig(confounds=BOTH),
    "joint": JointConfig(domain_steps=2, beta=0.7, confounds=BOTH),
    "reversal": ReversalConfig(confounds=BOTH),
    "alignment": AlignmentConfig(within=0.5, weight=0.4),
    "alignment, whitened": AlignmentConfig(within=0.5, whiten=True),
    "mmd": AlignmentConfig(kind="mmd", confounds=BOTH),
    "coral": AlignmentConfig(kind="coral"),
    "erasure": ErasureConfig(),
}
SEX = Confound(name="sex", column="sex", cuts=(0.0, 1.0), outputs=2)
STANDARDISED: dict[str, Any] = {
    "config": JointConfig(domain_steps=2),
    "standardise": True,
    "optimiser": "sgd",
    "steps": 1,
}
"""One step by SGD: standardised heads lend some biases no gradient at all, and Adam makes steps of its rounding."""
LAYOUTS = {
    "dealt": lambda batch, rank, world: torch.arange(rank, len(batch.domain), world),
    "one site a rank": lambda batch, rank, world: torch.nonzero(batch.domain % world == rank).squeeze(1),
    "an idle rank": lambda batch, rank, world: torch.arange(len(batch.domain) if rank == 0 else 0),
}


def parts(norm: Norm = "sync", *, standardise: bool = False) -> dict[str, nn.Module]:
    """Small parts of Fig. 1, the same at every call: two domain heads for the site, one of them on an inner layer."""
    torch.manual_seed(0)
    encoder = build_encoder(VggConfig(channels=(4, 6), features=5, norm=norm), (8, 8, 4), layers=("blocks.2",))
    config = DomainHeadConfig(hidden=4, dropout=0, standardise=standardise)
    built = {
        "encoder": encoder,
        "task_head": TaskHead(HeadConfig(hidden=4), 5, 1),
        **{head_of(name): DomainHeads(config, encoder.widths, outputs) for name, outputs in ((SITE, 3), ("sex", 2))},
    }
    with torch.no_grad():  # heads with an opinion: at the uniform answer the confusion has no gradient to speak of
        for name in BOTH:
            for one in built[head_of(name)].heads:
                one[-1].weight.mul_(20)
    return {name: module.to(torch.float64) for name, module in built.items()}


def network(runtime: Runtime | None = None, norm: Norm = "sync", *, standardise: bool = False) -> Network:
    """The parts with a task in plain units."""
    task = Regression(RegressionConfig(), torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    found = {SITE: Confound.site(3), "sex": SEX}
    wrapped = {
        name: runtime.wrap(module) if runtime else module
        for name, module in parts(norm, standardise=standardise).items()
    }
    return Network(wrapped, task, found, ("age", "sex"))


def shares(step: int, rank: int, world: int, *, layout: str, distinct: bool) -> StepBatch:
    """This rank's share of a step: X_u is X_p for the site, or a batch of its own, as it always is for the sex."""
    main, other, third = (batch_of(step, scans, seed=seed) for seed, scans in enumerate((11, 7, 8)))
    mine, theirs, sexes = (share_of(batch, LAYOUTS[layout](batch, rank, world)) for batch in (main, other, third))
    return {"main": mine, role_of(SITE): theirs if distinct else mine, role_of("sex"): sexes}


def on(device: torch.device, batches: StepBatch, dtype: torch.dtype | None = None) -> StepBatch:
    """The same step on a device; roles that share a batch share it there too."""
    moved: dict[int, RoleBatch] = {}
    for own in batches.values():
        batch = own.batch.to(device)
        batch = batch._replace(volume=batch.volume.to(dtype or batch.volume.dtype))
        moved[id(own)] = RoleBatch(batch, own.subjects.to(device))
    return {role: moved[id(own)] for role, own in batches.items()}


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
    runtime: Runtime | None = None,
    pieces: int = 1,
    norm: Norm = "sync",
    standardise: bool = False,
    **settings: Any,
) -> dict[str, Tensor]:
    """Weights after a few steps; `settings` are those of the stage."""
    net = network(runtime, norm, standardise=standardise)
    stage = StageConfig(name="s", method=config, **{"learning_rate": 1e-2} | settings)
    updates = build_updates(stage, net, runtime or Runtime(EngineConfig()))
    for step in range(steps):
        batches = shares(step, rank, world, layout=layout, distinct=distinct)
        if runtime is not None and runtime.device.type == "cuda":
            batches = on(runtime.device, batches)
        take_step(net, phases_of(config), batches, updates, pieces=pieces)
    return weights(net)


def distance(these: dict[str, Tensor], those: dict[str, Tensor]) -> float:
    """Euclidean distance of two sets of weights."""
    return torch.cat([(these[key] - those[key]).flatten() for key in these]).norm().item()


def test_every_method_is_tried() -> None:
    """No method is left out of these tests."""
    assert {config.name for config in CONFIGS.values()} == set(METHODS)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_phase_moves_its_own_parts_only(name: str) -> None:
    """Each phase changes every tensor of the parts that it updates and not one bit of the others."""
    net = network()
    stage = StageConfig(name="s", method=CONFIGS[name], learning_rate=1e-2)
    for phase in phases_of(CONFIGS[name]):
        before = weights(net)
        updates = build_updates(stage, net, Runtime(EngineConfig()))
        take_step(net, (phase,), shares(0, 0, 1, layout="dealt", distinct=True), updates)
        moved = {key for key, value in weights(net).items() if not torch.equal(value, before[key])}
        assert moved == {key for key in before if key.split(".")[0] in phase.updates}, phase.name
        assert phase.updates, "a phase that moves nothing"


def test_sharing_a_forward_changes_nothing() -> None:
    """Encoding X_u once for the domain and the confusion update gives bit for bit the weights of the paper's re-encoding."""
    for distinct in (True, False):
        once = trained(UnlearningConfig(share_forward=True), distinct=distinct)
        again = trained(UnlearningConfig(share_forward=False), distinct=distinct)
        assert all(torch.equal(once[key], again[key]) for key in once)


def test_alpha_and_beta_do_nothing_under_adam() -> None:
    """With one Adam a loss, weights of the losses a hundred times larger leave the network where it would be anyway."""
    # Group norm: with batch norm some gradients here are as small as Adam's epsilon, beside which their scale does show.
    plain, heavy = (trained(UnlearningConfig(alpha=weight, beta=weight), norm="group") for weight in (1.0, 100.0))
    assert distance(plain, heavy) < 1e-3 * distance(plain, weights(network(norm="group")))


@pytest.mark.parametrize(
    ("these", "those"),
    [
        ({"config": JointConfig()}, {"config": JointConfig(beta=100.0)}),
        ({"config": UnlearningConfig(), "optimiser": "sgd"}, {"config": UnlearningConfig(alpha=9, beta=9), "optimiser": "sgd"}),
        ({"config": UnlearningConfig()}, {"config": UnlearningConfig(domain_steps=3)}),
        ({"config": UnlearningConfig()}, {"config": UnlearningConfig(), "learning_rate": {"task": 1e-2, "domain": 1e-2, "confusion": 5e-2}}),
    ],
    ids=["beta in joint", "alpha and beta under SGD", "steps of the head", "learning rates"],
)  # fmt: skip
def test_what_acts_instead(these: dict[str, Any], those: dict[str, Any]) -> None:
    """Knobs that docs/deviations.md names lead the network elsewhere, by a tenth of its way at least."""
    plain, other = trained(**these, norm="group"), trained(**those, norm="group")
    assert distance(plain, other) > 0.1 * distance(plain, weights(network(norm="group")))


def test_the_papers_phases_are_its_equations() -> None:
    """The task's update is led by eq. (1) on X_p, the others by eq. (4) and (5) on an X_u of its own: again by loops."""
    net, scans = network(), shares(0, 0, 1, layout="dealt", distinct=True)
    phases = phases_of(UnlearningConfig(alpha=2.0, beta=3.0))
    found = {phase.name: phase_loss(net, phase, scans, encode(net, [phase], scans)).item() for phase in phases}
    encoder, main, other = net.parts["encoder"], scans["main"].batch, scans["unlearn"].batch
    said = net.parts["task_head"](encoder(main.volume))[:, 0].tolist()
    task = 0.0
    for n in range(3):
        members = [j for j in range(len(said)) if main.domain[j] == n]
        task += sum((said[j] - main.target[j, 0].item()) ** 2 for j in members) / len(members)
    told, confused = [], []
    for row, site in zip(net.parts["domain_head"](encoder(other.volume)).tolist(), other.domain.tolist(), strict=True):
        for logits in row:  # of each head
            total = sum(math.exp(value) for value in logits)
            log_p = [math.log(math.exp(value) / total) for value in logits]
            told.append(-log_p[site])
            confused.append(-sum(log_p) / 3)
    expected = {"task": task, "domain": 2 * sum(told) / len(told), "confusion": 3 * sum(confused) / len(confused)}
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kind", ["conditional", "mmd", "coral"])
def test_a_distance_stands_beside_each_sites_loss(kind: str) -> None:
    """L_p is a sum over three sites; a distance of weight 0.4 counts three times beside it, so 0.4 beside a site's mean."""
    net, scans = network(), shares(0, 0, 1, layout="dealt", distinct=False)
    losses = {}
    for weight in (0.0, 0.4):
        phases = phases_of(AlignmentConfig.model_validate({"kind": kind, "weight": weight, "within": 0.5}))
        losses[weight] = phase_loss(net, phases[0], scans, encode(net, phases, scans)).item()
    batch = scans["main"].batch
    features = net.parts["encoder"](batch.volume)
    distance = {
        "conditional": lambda: distances.conditional_alignment(features, batch.domain, batch.target[:, 0], 0.5),
        "mmd": lambda: distances.maximum_mean_discrepancy(features, batch.domain),
        "coral": lambda: distances.correlation_alignment(features, batch.domain),
    }[kind]()
    assert losses[0.4] - losses[0.0] == pytest.approx(3 * 0.4 * distance.item(), rel=1e-6)
    assert abs(distance.item()) > 0.01


@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if config.name != "alignment"])
def test_a_batch_in_pieces_is_the_batch(name: str) -> None:
    """Gradients summed over three pieces, some of a few scans, give the weights of the whole batch (float64)."""
    whole, cut = (trained(CONFIGS[name], pieces=pieces, norm="group") for pieces in (1, 3))
    assert distance(whole, cut) < 1e-10
    assert distance(whole, weights(network(norm="group"))) > 1e-2


def _train_on_rank(rank: int, world: int, folder: Path, layout: str) -> None:
    runtime = Runtime(EngineConfig(bucket_mb=0.001))  # many buckets
    for index, (name, config) in enumerate(CONFIGS.items()):
        distinct = bool((index + world) % 2)
        found = trained(config, rank, world, layout=layout, distinct=distinct, runtime=runtime)
        torch.save(found, folder / f"{name}-{distinct}-{rank}.pt")
    torch.save(
        trained(rank=rank, world=world, layout=layout, runtime=runtime, **STANDARDISED), folder / f"heads-{rank}"
    )
    runtime.close()


@pytest.mark.distributed
@pytest.mark.parametrize(("world", "layout"), [(2, "dealt"), (3, "one site a rank"), (2, "an idle rank")])
def test_any_number_of_ranks_is_one_process(world: int, layout: str, tmp_path: Path) -> None:
    """Steps of every method on several ranks with uneven shares give the weights of one process (float64), pairs included."""
    on_ranks(world, _train_on_rank, tmp_path, layout)
    for file in sorted(tmp_path.glob("*-0.pt")):
        name, distinct, _ = file.stem.split("-")
        expected = trained(CONFIGS[name], distinct=distinct == "True")
        found = [torch.load(tmp_path / f"{name}-{distinct}-{rank}.pt", weights_only=True) for rank in range(world)]
        for key, value in expected.items():
            assert all(torch.equal(found[0][key], other[key]) for other in found), f"{name}: ranks differ in {key}"
            assert torch.allclose(found[0][key], value, rtol=0, atol=1e-10), f"{name}: {key}"
    assert len(list(tmp_path.iterdir())) == world * (len(CONFIGS) + 1)
    expected = trained(**STANDARDISED)
    for rank in range(world):
        found = torch.load(tmp_path / f"heads-{rank}", weights_only=True)
        assert distance(found, expected) < 1e-10 < distance(expected, weights(network(standardise=True)))
