"""What `distunlearn train` sends over the network while each site keeps its scans: read from its system calls, not from its code."""

import shutil
from pathlib import Path

import pytest
import wire
import yaml
from one_machine import need_namespaces, play
from safetensors.numpy import load_file
from tiny_run import tiny
from written_study import write_site

from distunlearn.config import RunConfig
from distunlearn.methods import phases_of
from distunlearn.streaming.manifest import read_study

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

SITES = ("alpha", "beta")
SETTINGS = ("sites=[alpha,beta]", "data.batch=8", "data.placement.kind=federated")
SHAPE = (16, 16, 16)
SLACK = 4096
"""Bytes a step for headers (gloo's take 144 a message) and signs of life (70 each half second): half of one scan."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites of noise, of which every window of values occurs once."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    need_namespaces()
    root = tmp_path_factory.mktemp("shards")
    for site, scans in (("alpha", 21), ("beta", 10)):
        ages = [30.37 + 1.13 * number for number in range(scans)]
        write_site(root, site, {"train": ages, "val": ages[:6], "test": ages[:6]}, shape=SHAPE)
    return root


@pytest.fixture(scope="module")
def looked_for(shards: Path) -> dict[str, list[bytes]]:
    """Scans, ages and keys of both sites in every common form."""
    return wire.forms(read_study(shards))


def run(shards: Path, folder: Path, *settings: str, alteration: str = "") -> list[Path]:
    """Train as two sites, each under strace; the traces."""
    done = play(
        tiny(shards, *SETTINGS, *settings), shards, folder / "run", alteration=alteration, traces=folder / "traces"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [folder / "traces" / f"rank{rank}" for rank in range(2)]


@pytest.fixture(scope="module")
def leaky(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[wire.Stretch]]]:
    """A run whose steps are marked and behind some of which scans are leaked: its folder, and what each rank sent."""
    folder = tmp_path_factory.mktemp("leaky")
    traces = run(shards, folder, "encoder.norm=group", alteration="marked_steps")
    return folder / "run", [wire.stretches(trace) for trace in traces]


def test_no_byte_of_a_scan_age_or_key_leaves_a_site(
    shards: Path, looked_for: dict[str, list[bytes]], tmp_path: Path
) -> None:
    """From the first to the last byte of both stages: neither stored nor normalised values, nor ages, nor keys."""
    for trace in run(shards, tmp_path):
        content = wire.network_of(trace)
        assert len(content) > 100_000
        assert wire.found(content, looked_for) == set()


@pytest.mark.parametrize("leak", ["float32", "bfloat16", "stored", "age"])
def test_a_planted_leak_is_seen_by_its_bytes(
    leaky: tuple[Path, list[list[wire.Stretch]]], looked_for: dict[str, list[bytes]], leak: str
) -> None:
    """The same search finds what a step of the same program gathers on purpose."""
    for stretches in leaky[1]:
        (of_leak,) = (stretch.network for stretch in stretches if stretch.phase == leak)
        assert leak in wire.found(of_leak, looked_for)


def budget(run: Path, stage: int) -> int:
    """Bytes that a step of a stage may send: of each phase the gradients of what it updates, as two ranks in a ring do."""
    weights = load_file(run / "unlearning" / "model" / "model.safetensors")
    phases = phases_of(RunConfig(**yaml.safe_load((run / "config.yaml").read_text())).stages[stage].method)
    updated = [part for phase in phases for part in phase.updates for _ in range(phase.repeat)]
    return sum(value.nbytes for part in updated for name, value in weights.items() if name.startswith(f"{part}."))


def test_every_step_sends_its_gradients_and_nothing_else(leaky: tuple[Path, list[list[wire.Stretch]]]) -> None:
    """Each step of both stages stays within the bytes of its gradients and a little for headers, and so does what follows it."""
    run, ranks = leaky
    for stretches in ranks:
        sizes = [len(stretch.network) for stretch in stretches if stretch.phase == "step"]
        half = len(sizes) // 2
        for stage, of_stage in enumerate((sizes[:half], sizes[half:])):
            gradients = budget(run, stage)
            assert gradients <= min(of_stage) <= max(of_stage) <= gradients + SLACK
        after = [len(stretch.network) for stretch in stretches if stretch.phase == "between"]
        assert max(after[: half - 1] + after[half:-1]) <= SLACK  # at the end of a stage a checkpoint is agreed on


def test_a_planted_leak_that_hides_its_bytes_breaks_the_budget(
    leaky: tuple[Path, list[list[wire.Stretch]]], looked_for: dict[str, list[bytes]]
) -> None:
    """One compressed and masked scan is found by no search, but the step that sends it sends more than it may."""
    allowed = budget(leaky[0], 0) + SLACK
    for stretches in leaky[1]:
        (at,) = (index for index, stretch in enumerate(stretches) if stretch.phase == "coded")
        assert wire.found(stretches[at].network, looked_for) == set()
        assert len(stretches[at - 1].network) + len(stretches[at].network) > allowed
