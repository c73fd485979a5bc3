"""The README's network of somebody else's, as it is written there, built and trained."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distunlearn.batch import Batch
from distunlearn.config import EngineConfig, RunConfig
from distunlearn.engine.network import Network
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.share import RoleBatch
from distunlearn.engine.step import take_step
from distunlearn.engine.updates import build_updates
from distunlearn.methods import Confound, phases_of
from distunlearn.models import DomainHeads, TaskHead, build_encoder
from distunlearn.models.norm import statistics_of
from distunlearn.tasks import Regression

SHAPE = (64, 32, 32)


def readme_config() -> dict[str, Any]:
    """The block that begins with `encoder:`."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = re.findall(r"^    encoder:\n(?:      .*\n)+", text, re.MULTILINE)
    assert len(blocks) == 1
    found: dict[str, Any] = yaml.safe_load(textwrap.dedent(blocks[0]))
    return found


def batch() -> Batch:
    """A scan of each of two sites."""
    volume = torch.randn(2, 1, *SHAPE)
    return Batch(volume, torch.ones(2), torch.arange(2), torch.arange(2), torch.tensor([[0.3], [-1.0]]))


@pytest.mark.filterwarnings("default")  # MONAI's own
def test_the_readmes_network_unlearns() -> None:
    """It keeps the three-line contract: one row of 96 features a scan; a step of unlearning ends in numbers and moves it."""
    pytest.importorskip("monai.networks.nets")
    values = {"shards": ".", "stages": [{"name": "s", "method": {"name": "joint"}}]} | readme_config()
    config = RunConfig.read(values, "README.md")
    torch.manual_seed(0)
    encoder = build_encoder(config.encoder, SHAPE)
    assert encoder.width == 96
    assert statistics_of(encoder) == "none", "each scan is normalised by itself, on any number of ranks"
    heads = {"task_head": TaskHead(config.task_head, 96, 1), "domain_head": DomainHeads(config.domain_head, (96,), 2)}
    task = Regression(config.task, torch.zeros(1), torch.ones(1))  # type: ignore[arg-type]
    network = Network({"encoder": encoder} | heads, task, {"site": Confound.site(2)}, ("age",))
    before = torch.nn.utils.parameters_to_vector(encoder.parameters()).detach().clone()
    stage = config.stages[0]
    updates = build_updates(stage, network, Runtime(EngineConfig()))
    scans = RoleBatch(batch(), torch.tensor([1, 1]))
    outcomes = take_step(network, phases_of(stage.method), {"main": scans, "unlearn": scans}, updates)
    assert all(outcome.share.isfinite() for outcome in outcomes.values())
    assert not torch.equal(torch.nn.utils.parameters_to_vector(encoder.parameters()), before)
