"""A confound that was planted in a table is unlearned, of each kind, and the task is kept: by a fresh ridge on other people."""

import pytest
import torch
from torch import Tensor, nn

from distunlearn.batch import Batch
from distunlearn.config import EngineConfig, StageConfig
from distunlearn.engine.network import Network
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.share import RoleBatch
from distunlearn.engine.step import take_step
from distunlearn.engine.updates import build_updates
from distunlearn.methods import Confound, ConfoundKind, JointConfig, MethodConfig, StandardConfig, phases_of
from distunlearn.models import DomainHeadConfig, DomainHeads, HeadConfig, MlpConfig, TaskHead, build_encoder
from distunlearn.tasks import Regression, RegressionConfig


def people(seed: int, number: int = 256) -> Batch:
    """Eight measures that mix an age and a field strength, which have nothing to do with each other."""
    draw = torch.Generator().manual_seed(seed)
    age, field, noise = (torch.randn(number, generator=draw) for _ in range(3))
    mixing = torch.randn(2, 8, generator=torch.Generator().manual_seed(9))
    measures = torch.stack([age, field], dim=1) @ mixing + 0.1 * noise[:, None]
    rows = torch.arange(number)
    return Batch(measures, torch.ones(number), rows, torch.zeros_like(rows), torch.stack([age, field], dim=1))


def explained(network: Network, label: int) -> float:
    """R² of a ridge from features to a label, fitted on some people and tried on others."""
    fitted, tried = people(1000, 512), people(1001, 512)
    with torch.no_grad():
        x, z = (with_one(network.parts["encoder"](one.volume)) for one in (fitted, tried))
    y, truth = fitted.target[:, label], tried.target[:, label]
    weight = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ y)
    return 1 - ((z @ weight - truth).square().mean() / truth.var()).item()


def with_one(features: Tensor) -> Tensor:
    """A column of ones behind the features."""
    return torch.cat([features, torch.ones(len(features), 1)], dim=1)


def train(network: Network, method: MethodConfig, steps: int) -> None:
    """Some steps, each on new people."""
    stage = StageConfig(name="s", method=method, learning_rate=5e-3)
    updates = build_updates(stage, network, Runtime(EngineConfig()))
    for step in range(steps):
        scans = RoleBatch(people(step), torch.tensor([256]))
        roles = {"main": scans, "unlearn": scans, "unlearn_field": scans}
        take_step(network, phases_of(method), roles, updates, progress=step / steps)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "binned"])
def test_a_continuous_confound_is_unlearned(kind: str) -> None:
    """Before, the features tell the field nearly as well as the age; after, less than half of it, and still the age."""
    torch.manual_seed(0)
    encoder = build_encoder(MlpConfig(hidden=(16,), features=8, rectified=False), (8,))
    known = ConfoundKind(column="field", kind=kind, bins=4)  # type: ignore[arg-type]
    field = Confound.fit("field", known, people(1000, 512).target[:, 1])
    parts: dict[str, nn.Module] = {
        "encoder": encoder,
        "task_head": TaskHead(HeadConfig(hidden=0), 8, 1),
        "domain_head_field": DomainHeads(DomainHeadConfig(dropout=0), (8,), field.outputs),
    }
    task = Regression(RegressionConfig(), torch.zeros(1), torch.ones(1))
    network = Network(parts, task, {"field": field}, ("age", "field"))
    train(network, StandardConfig(confounds=("field",)), 60)
    assert explained(network, 1) > 0.8
    train(network, JointConfig(confounds=("field",), beta=2.0), 900)
    assert explained(network, 1) < 0.5
    assert explained(network, 0) > 0.8
