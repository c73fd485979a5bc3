"""Every task with every method on every encoder: two steps that end in numbers and move what they should."""

from typing import Any

import pytest
import torch
from ranks import batch_of, share_of
from torch import Tensor

from distunlearn.config import EngineConfig, RunConfig, StageConfig
from distunlearn.engine.network import Network
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.share import StepBatch
from distunlearn.engine.step import take_step
from distunlearn.engine.updates import build_updates
from distunlearn.evaluate.model import ModelCard, build_parts
from distunlearn.methods import METHODS, Confound, phases_of, role_of
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
METHOD_CONFIGS: dict[str, dict[str, Any]] = {
    **{name: {"name": name} for name in METHODS},
    "alignment": {"name": "alignment", "label": "age"},
    "mmd": {"name": "alignment", "kind": "mmd"},
    "coral": {"name": "alignment", "kind": "coral"},
    "standard, taught": {"name": "standard", "teach": 1.0},
}
LAYERS = {"vgg3d": ["blocks.2"], "unet": ["down.1"]}
"""Inner layers that get domain heads of their own."""
COMPARED = ["site", "sex", "coil"]
TOLD = [*COMPARED, "field"]
"""Confounds with classes; those and a continuous one, which an alignment cannot compare scans by."""
SHAPE = (8, 8, 4)
DENSE, FLAT = ["unet"], [name for name in ENCODER_CONFIGS if name != "unet"]
FITTING = [
    (task, encoder) for task in TASK_CONFIGS for encoder in (DENSE if task == "segmentation" else ENCODER_CONFIGS)
]


def batch(step: int, scans: int, *, seed: int, encoder: str) -> Any:
    """Scans with an age of 0 to 2, a sex, a coil and a field; every fourth without a label, every fourth not drawn."""
    made = batch_of(step, scans, seed=seed)
    age = made.domain.double()
    age[::4] = torch.nan
    drawn = torch.randint(0, 3, (scans, *SHAPE), dtype=torch.int16)
    drawn[::4] = -1
    volume = made.volume.flatten(1)[:, :6] if encoder == "mlp" else made.volume
    first, last = volume.flatten(1)[:, 0], volume.flatten(1)[:, -1]
    target = torch.stack([age, made.target[:, 1], first, last], dim=1)
    return made._replace(volume=volume.float(), target=target.float(), segmentation=drawn)


def shares(step: int, encoder: str) -> StepBatch:
    """X_p, and an X_u of its own for every confound."""
    made = [batch(step, 9, seed=seed, encoder=encoder) for seed in range(5)]
    roles = ["main", "unlearn", *(role_of(name) for name in TOLD[1:])]
    return {role: share_of(one, torch.arange(9)) for role, one in zip(roles, made, strict=True)}


def network(task: str, encoder: str, *, erasable: bool = False) -> Network:
    """A network with two heads a confound and layer, one confound of each kind."""
    heads = {"hidden": 4, "ensemble": 2, "layers": LAYERS.get(encoder, [])}
    config = RunConfig.read(
        {
            "shards": ".", "task": {"name": task} | TASK_CONFIGS[task], "encoder": {"name": encoder} | ENCODER_CONFIGS[encoder],
            "domain_head": heads, "stages": [{"name": "s"}],
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
        Confound(name="field", column="field", kind="continuous", cuts=(0.1, 1.2), outputs=1),
    )
    card = ModelCard(
        sites=("a", "b", "c"), kind="volume", shape=(6,) if encoder == "mlp" else SHAPE, preprocessing={}, preprocessing_digest="",
        encoder=config.encoder, task_head=config.task_head, domain_head=config.domain_head, confounds=confounds,
        erasable=erasable, task=config.task, task_state=fitted.state(), target_range={},
    )  # fmt: skip
    found = {confound.name: confound for confound in confounds}
    return Network(build_parts(card), fitted, found, ("age", "sex", "coil", "field"))


def stage_of(method: str) -> StageConfig:
    """A stage that unlearns every confound that the method can."""
    settings = METHOD_CONFIGS[method]
    told = COMPARED if settings["name"] == "alignment" else TOLD
    values = {"name": "s", "method": settings | {"confounds": told}, "learning_rate": 0.01}
    return StageConfig.model_validate(values)


def weights(net: Network) -> dict[str, Tensor]:
    """Parameters by part and name, as copies."""
    return {f"{part}.{name}": p.detach().clone() for part, m in net.parts.items() for name, p in m.named_parameters()}


def moved_parts(net: Network, before: dict[str, Tensor]) -> set[str]:
    """The parts of which a parameter is not what it was."""
    return {name.split(".")[0] for name, value in weights(net).items() if not torch.equal(value, before[name])}


def test_nothing_is_left_out() -> None:
    """Every task, method and encoder is tried."""
    assert set(TASK_CONFIGS) == set(TASKS)
    assert set(ENCODER_CONFIGS) == set(ENCODERS)
    assert {settings["name"] for settings in METHOD_CONFIGS.values()} == set(METHODS)


@pytest.mark.parametrize("method", METHOD_CONFIGS)
@pytest.mark.parametrize(("task", "encoder"), FITTING)
def test_two_steps_of_every_combination(task: str, encoder: str, method: str) -> None:
    """Losses are numbers, and each phase moves the parts that it updates and no others."""
    net, stage = network(task, encoder, erasable=method == "erasure"), stage_of(method)
    phases = phases_of(stage.method)
    updates = build_updates(stage, net, Runtime(EngineConfig()))
    outcomes = take_step(net, phases, shares(0, encoder), updates)
    assert set(outcomes) == {phase.name for phase in phases}
    for phase in phases:
        before = weights(net)
        outcomes |= take_step(net, (phase,), shares(1, encoder), updates)
        assert moved_parts(net, before) == set(phase.updates), phase.name
    assert all(outcome.share.isfinite() for outcome in outcomes.values()), outcomes


@pytest.mark.parametrize("encoder", FLAT)
def test_a_segmentation_needs_a_map(encoder: str) -> None:
    """The combinations that are left: an encoder that gives one row a scan cannot answer at every voxel, and says so."""
    with pytest.raises(ValueError, match="features at every voxel, such as unet"):
        network("segmentation", encoder)
