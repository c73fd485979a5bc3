"""The engine's settings: what changes nothing, what changes the last digits, and what is refused."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from altered_train import double_precision
from ranks import batch_of, end_of, on_ranks, share_of, start
from test_step import on
from tiny_run import tiny
from torch import Tensor, nn

from distunlearn.config import EngineConfig, RunConfig, StageConfig
from distunlearn.engine import checkpoint, saver
from distunlearn.engine.checkpoint import newest
from distunlearn.engine.job import build
from distunlearn.engine.network import Network, unwrapped
from distunlearn.engine.refuse import refuse_alignments, refuse_norm
from distunlearn.engine.resume import Patience
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.share import StepBatch
from distunlearn.engine.step import take_step
from distunlearn.engine.train import train
from distunlearn.engine.update import Update
from distunlearn.engine.updates import build_updates, set_rates
from distunlearn.errors import UserError
from distunlearn.methods import UnlearningConfig, phases_of
from distunlearn.models import DomainHeadConfig, DomainHeads, HeadConfig, TaskHead, VggConfig, build_encoder
from distunlearn.tasks import Regression, RegressionConfig

STAGE = StageConfig(name="s", method=UnlearningConfig(), learning_rate=1e-2)


def unlearning(**engine: object) -> tuple[Network, dict[str, Update], StepBatch]:
    """A small network with group norm, in float32, its updates, and a step's scans."""
    torch.manual_seed(0)
    runtime = Runtime(EngineConfig(**engine))  # type: ignore[arg-type]
    encoder = build_encoder(VggConfig(channels=(8, 8), features=8), (8, 8, 4))
    heads = {
        "task_head": TaskHead(HeadConfig(), 8, 1),
        "domain_head": DomainHeads(DomainHeadConfig(dropout=0), (8,), 3),
    }
    parts = {name: runtime.wrap(part) for name, part in ({"encoder": encoder} | heads).items()}
    network = Network(parts, Regression(RegressionConfig(), torch.zeros(1), torch.ones(1)), precision=runtime.precision)
    batch = batch_of(0, 9, seed=0)
    batch = batch._replace(volume=batch.volume.float(), target=batch.target[:, :1].float())
    whole = share_of(batch, torch.arange(9))
    if engine.get("compile"):
        parts["encoder"].compile()
    batches = on(runtime.device, {"main": whole, "unlearn": whole}, torch.float32)
    return network, build_updates(STAGE, network, runtime), batches


def gradients(**engine: object) -> Tensor:
    """All gradients of one step of unlearning."""
    network, updates, batches = unlearning(**engine)
    outcomes = take_step(network, phases_of(STAGE.method), batches, updates)
    assert all(outcome.share.isfinite() for outcome in outcomes.values())
    parameters = [parameter for part in network.parts.values() for parameter in part.parameters()]
    return torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])


def parameters_of(part: nn.Module) -> Tensor:
    """A copy of all parameters of a part."""
    return nn.utils.parameters_to_vector(part.parameters()).detach().clone()


LEVERS: list[tuple[dict[str, object], float]] = [
    ({"fused": True}, 1e-3),
    ({"channels_last": True}, 1e-3),
    ({"precision": "bf16"}, 0.2),
    ({"precision": "fp16"}, 0.05),
]
"""Settings, and how far a gradient may be from plain float32 with them, on any device."""


@pytest.mark.parametrize(("engine", "error"), LEVERS)
def test_a_lever_stays_near_plain_float32(engine: dict[str, object], error: float) -> None:
    """Fused optimisers and channels last change digits of the gradient; half precision stays within its own."""
    plain, other = gradients(), gradients(**engine)
    assert (other - plain).norm() / plain.norm() < error


def losses_of(config: RunConfig, steps: int = 3) -> list[dict[str, float]]:
    """The losses of the first steps of unlearning."""
    runtime = Runtime(config.engine)
    job, stage = build(config, runtime), config.stages[1]
    updates = build_updates(stage, job.network, runtime)
    taken = [take_step(job.network, phases_of(stage.method), batches, updates) for batches in job.steps(0, steps)]
    return [{name: outcome.share.item() for name, outcome in outcomes.items()} for outcomes in taken]


def trained(config: RunConfig, steps: int = 3) -> dict[str, Tensor]:
    """Weights and running statistics after the first steps of unlearning, in float64."""
    runtime = Runtime(config.engine)
    with double_precision():
        job, stage = build(config, runtime), config.stages[1]
        updates = build_updates(stage, job.network, runtime)
        for batches in job.steps(0, steps):
            take_step(job.network, phases_of(stage.method), batches, updates)
    states = {part: unwrapped(module).state_dict() for part, module in job.network.parts.items()}
    return {f"{part}.{name}": value.clone() for part, state in states.items() for name, value in state.items()}


def _compiled(_rank: int, _world: int, shards: Path, norm: str) -> None:
    found, plain = (trained(tiny(shards, f"encoder.norm={norm}", f"engine.compile={on}")) for on in (True, False))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    assert found.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("norm", ["group", "sync"])
def test_compiled_layers_give_the_eager_weights(norm: str, world: int, planted_shards: Path) -> None:
    """Three steps of unlearning lead to weights and running statistics within 1e-9 (float64), with Adam and batch norm over ranks too.

    In processes of their own: the types that tests check at every call cannot be compiled.
    """
    assert end_of(start(world, _compiled, planted_shards, norm), 600) == [0] * world


def _deterministic(_rank: int, _world: int, shards: Path) -> None:
    torch.use_deterministic_algorithms(False)
    config = tiny(shards, "engine.deterministic=true")
    once, again = losses_of(config), losses_of(config)
    assert once == again
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    with pytest.raises(RuntimeError, match="deterministic"):  # one of the few that a CPU refuses too
        torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))
    torch.use_deterministic_algorithms(False)
    assert losses_of(tiny(shards)) == once  # on a CPU nothing is different


def test_deterministic_refuses_what_does_not_repeat(planted_shards: Path) -> None:
    """It gives the bits that a CPU gives anyway, and an operation that would not repeat raises."""
    on_ranks(1, _deterministic, planted_shards)


def test_every_loss_of_half_precision_has_a_scale_of_its_own() -> None:
    """A gradient that overflows in one phase leaves out that phase's step and halves that phase's scale, no other's."""
    network, updates, batches = unlearning(precision="fp16")
    scales = {name: update.scaler.get_scale() for name, update in updates.items() if update.scaler}
    assert set(scales) == {"task", "domain", "confusion"}
    before = {part: parameters_of(module) for part, module in network.parts.items()}
    honest = updates["domain"].backward
    updates["domain"].backward = lambda share: honest(share * 1e38)  # type: ignore[method-assign]
    outcomes = take_step(network, phases_of(STAGE.method), batches, updates)
    assert {name: update.scaler.get_scale() / scales[name] for name, update in updates.items() if update.scaler} == {
        "task": 1.0, "domain": 0.5, "confusion": 1.0,
    }  # fmt: skip
    assert outcomes["domain"].gradient == 0
    moved = {part for part, module in network.parts.items() if not torch.equal(parameters_of(module), before[part])}
    assert moved == {"encoder", "task_head"}


def test_batch_norm_that_would_not_be_of_the_global_batch_is_refused(planted_shards: Path) -> None:
    """In pieces, channels last on a CPU, and by each rank's share on several ranks."""
    config = tiny(planted_shards, "engine.pieces=2")
    with pytest.raises(UserError, match="normalise each piece"):
        build(config, Runtime(config.engine))
    several = Runtime(EngineConfig())
    several.world_size = 2
    with pytest.raises(UserError, match="each rank's share"):
        refuse_norm("rank", several)
    refuse_norm("global", several)
    with pytest.raises(UserError, match="normalise each piece"):
        refuse_norm("global", Runtime(EngineConfig(pieces=2)))
    with pytest.raises(UserError, match="inexact on CPUs"):
        refuse_norm("rank", Runtime(EngineConfig(channels_last=True)))
    refuse_norm("none", Runtime(EngineConfig(pieces=2, channels_last=True)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"engine": {"pieces": 2}}, "cannot be cut"),
        ({"task": {"name": "segmentation"}}, "name a label, such as age"),
        ({"task": {"name": "classification"}}, "set within to 0"),
        ({"confounds": {"field": {"column": "field", "kind": "continuous"}}}, "set its kind to binned"),
    ],
)
def test_what_an_alignment_cannot_do_is_refused(changed: dict[str, Any], words: str) -> None:
    """In one line, before any scan is looked at; what lies beside it is allowed."""
    method = {"name": "alignment", "confounds": ["site", *changed.get("confounds", ())]}
    config = {"shards": ".", "stages": [{"name": "s", "method": method}]}
    with pytest.raises(UserError, match=words):
        build(RunConfig.read(config | changed, "test"), Runtime(EngineConfig()))
    refuse_alignments(
        RunConfig.read({"shards": ".", "stages": [{"name": "s", "method": {"name": "alignment"}}]}, "test")
    )


@pytest.mark.parametrize(
    ("schedule", "expected"), [("constant", [0.5, 1, 1, 1]), ("linear", [0.5, 0.75, 0.5, 0.25]), ("cosine", [0.5, 0.8536, 0.5, 0.1464])]
)  # fmt: skip
def test_learning_rates_are_a_function_of_the_step(schedule: str, expected: list[float]) -> None:
    """They rise for the warm-up and fall as the schedule says, for every phase from its own rate."""
    stage = StageConfig.model_validate(
        {"name": "s", "method": {"name": "standard"}, "schedule": schedule, "warmup_epochs": 1, "learning_rate": {"task": 1.0, "domain": 2.0}}
    )  # fmt: skip
    parts = {name: torch.nn.Linear(1, 1) for name in ("encoder", "task_head", "domain_head")}
    task = Regression(RegressionConfig(), torch.zeros(1), torch.ones(1))
    updates = build_updates(stage, Network(parts, task), Runtime(EngineConfig()))
    for step, share in enumerate(expected):
        set_rates(stage, updates, step=step, steps=4, per_epoch=2)
        rates = {name: update.optimiser.param_groups[0]["lr"] for name, update in updates.items()}
        assert rates == pytest.approx({"task": share, "domain": 2 * share}, abs=1e-4)


def test_patience_counts_epochs_without_improvement() -> None:
    """It starts anew at every best."""
    patience = Patience()
    for value, stale in [(3.0, 0), (3.5, 1), (3.0, 2), (2.9, 0), (4.0, 1)]:
        patience = patience.after(value)
        assert patience.stale == stale


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two saves in a row may fail, and training goes on; at the third it ends with the last whole checkpoint in place."""
    config = tiny(planted_shards, "engine.checkpoint_minutes=0")
    honest, saves = checkpoint.save_file, iter(range(1, 100))

    def full(failing: set[int]) -> None:
        def save_file(*arguments: object) -> None:
            if next(saves) in failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            honest(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(checkpoint, "save_file", save_file)

    full({2, 3, 6, 7, 8})
    with pytest.raises(UserError, match="MB needed"):
        train(config, tmp_path)
    assert capfd.readouterr().err.count("cannot be written") == 4
    found, damaged = newest(tmp_path / "checkpoints")
    assert found is not None
    assert found.state["step"] == 8
    assert not damaged
    assert saver.FAILED_SAVES == 3
