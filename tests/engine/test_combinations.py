"""Every task with every method on every encoder: two steps that end in numbers and move what they should."""

from typing import Any

import pytest
import torch
from ranks import batch_of, share_of
from torch import Tensor

from distunlearn.config import EngineConfig, RunConfig
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import Network, StepBatch, take_step
from distunlearn.engine.updates import build_updates
from distunlearn.evaluate.model import ModelCard, build_parts
from distunlearn.methods import METHODS, Confound
from distunlearn.models import ENCODERS
from distunlearn.tasks import TASKS

ENCODER_CONFIGS: dict[str, dict[str, Any]] = {
    "vgg3d": {"channels": [3], "features": 4},
    "resnet3d": {"channels": [3, 4], "blocks": 1, "features": 4},
    "sfcn": {"channels": [3], "features": 4},
    "unet": {"channels": [3, 4], "features": 4},
    "mlp": {"hidden": [6], "features": 4},
    "custom": {"path": "combination_network:Tiny", "arguments": {"features": 4}},
}
TASK_CONFIGS: dict[str, dict[str, Any]] = {
    "regression": {"targets": ["age", "sex"], "loss": "huber"},
    "classification": {"target": "age", "class_weights": "balanced"},
    "segmentation": {"classes": [0, 1, 2]},
}
CONFOUNDS = ["site", "sex", "coil"]
SHAPE = (8, 8, 4)
FITTING = [
    (task, encoder)
    for task in TASK_CONFIGS
    for encoder in ENCODER_CONFIGS
    if task != "segmentation" or encoder == "unet"  # voxels need a map
]


def batch(step: int, scans: int, *, seed: int, encoder: str) -> Any:
    """Scans with an age of 0 to 2, a sex and a coil; every fourth without a label, every fourth not drawn."""
    made = batch_of(step, scans, seed=seed)
    age = made.domain.double()
    age[::4] = torch.nan
    drawn = torch.randint(0, 3, (scans, *SHAPE), dtype=torch.int16)
    drawn[::4] = -1
    volume = made.volume.flatten(1)[:, :6] if encoder == "mlp" else made.volume
    target = torch.stack([age, made.target[:, 1], volume.flatten(1)[:, 0]], dim=1)
    return made._replace(volume=volume.float(), target=target.float(), segmentation=drawn)


def shares(step: int, encoder: str) -> StepBatch:
    """X_p, and an X_u of its own for every confound."""
    made = [batch(step, 9, seed=seed, encoder=encoder) for seed in range(4)]
    roles = ["main", "unlearn", "unlearn_sex", "unlearn_coil"]
    return {role: share_of(one, torch.arange(9)) for role, one in zip(roles, made, strict=True)}


def network(task: str, encoder: str, *, erasable: bool) -> tuple[RunConfig, Network]:
    """A network with two heads a confound, one confound of each kind."""
    config = RunConfig.read(
        {
            "shards": ".", "task": {"name": task} | TASK_CONFIGS[task], "encoder": {"name": encoder} | ENCODER_CONFIGS[encoder],
            "domain_head": {"hidden": 4, "ensemble": 2}, "stages": [{"name": "s"}],
        },
        "test",
    )  # fmt: skip
    names = {float(value): str(value) for value in range(3)}
    known = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [2.0, 1.0]])[:, : len(config.task.targets)]
    fitted = TASKS[task].fit(config.task, known, names)
    confounds = (
        Confound.site(3),
        Confound(name="sex", column="sex", cuts=(0, 1), outputs=2),
        Confound(name="coil", column="coil", kind="binned", cuts=(-0.5, 0.5), outputs=3),
    )
    card = ModelCard(
        sites=("a", "b", "c"), kind="volume", shape=(6,) if encoder == "mlp" else SHAPE, preprocessing={}, preprocessing_digest="",
        encoder=config.encoder, task_head=config.task_head, domain_head=config.domain_head, confounds=confounds,
        erasable=erasable, task=config.task, task_state=fitted.state(), target_range={},
    )  # fmt: skip
    found = {confound.name: confound for confound in confounds}
    return config, Network(build_parts(card), fitted, found, ("age", "sex", "coil"))


def weights(net: Network) -> dict[str, Tensor]:
    """Parameters by part and name, as copies."""
    return {f"{part}.{name}": p.detach().clone() for part, m in net.parts.items() for name, p in m.named_parameters()}


def test_nothing_is_left_out() -> None:
    """Every task and encoder is tried."""
    assert set(TASK_CONFIGS) == set(TASKS)
    assert set(ENCODER_CONFIGS) == set(ENCODERS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("task", "encoder"), FITTING)
def test_two_steps_of_every_combination(task: str, encoder: str, method: str) -> None:
    """Losses are numbers, and the parts that the phases update, and no others, have moved."""
    erasable = method == "erasure" and encoder != "unet"
    _, net = network(task, encoder, erasable=erasable)
    settings = {"name": method, "confounds": CONFOUNDS} | ({"label": "age"} if method == "alignment" else {})
    stage = RunConfig.read(
        {"shards": ".", "confounds": {"sex": {"column": "sex"}, "coil": {"column": "coil", "kind": "binned"}},
         "stages": [{"name": "s", "method": settings, "learning_rate": 0.01}]}, "test",
    ).stages[0]  # fmt: skip
    phases = METHODS[method](stage.method)
    before, updates = weights(net), build_updates(stage, net, Runtime(EngineConfig()))
    for step in range(2):
        outcomes = take_step(net, phases, shares(step, encoder), updates)
        assert all(outcome.share.isfinite() for outcome in outcomes.values()), outcomes
        assert set(outcomes) == {phase.name for phase in phases}
    moved = {name.split(".")[0] for name, value in weights(net).items() if not torch.equal(value, before[name])}
    assert moved == {part for phase in phases for part in phase.updates}
