"""Federated placement trains what pooled placement trains, and no scan leaves its rank: shown by the operating system."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import federated_rank
import numpy as np
import pytest
import torch
import wire
from written_study import write_site

from distunlearn.streaming.manifest import read_study
from distunlearn.streaming.placement import POOLED

pytestmark = pytest.mark.distributed

SHAPE = (16, 16, 4)
AGES = {"biobank": [51.37, 64.13], "oasis": [48.91, 62.77]}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites of unequal size."""
    root = tmp_path_factory.mktemp("shards")
    for site, times in (("biobank", 12), ("oasis", 5)):
        write_site(root, site, {"train": AGES[site] * times}, shape=SHAPE)
    return root


def start(
    rank: int, study: Path, out: Path, *options: str, before: tuple[str, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    """Start one of two ranks, under another program where `before` says so."""
    command = (*before, sys.executable, federated_rank.__file__, str(study), str(out), *options)
    settings = {"RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    settings["PYTHONPATH"] = os.pathsep.join([str(Path(wire.__file__).parent), *sys.path])
    return subprocess.Popen(
        command, env=os.environ | settings | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(*ranks: subprocess.Popen[str]) -> None:
    """Wait for ranks that must succeed."""
    for rank in ranks:
        said, _ = rank.communicate(timeout=240)
        assert rank.returncode == 0, said


@pytest.fixture(scope="module")
def traced(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a federated run of two ranks, each under strace, with leaks planted after its last step."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    out = tmp_path_factory.mktemp("traced")
    ranks = [start(rank, study, out, "--leaks", before=wire.strace(out / f"trace{rank}")) for rank in range(2)]
    finish(*ranks)
    return out


@pytest.fixture(scope="module")
def sent(traced: Path) -> list[dict[str, bytes]]:
    """What each rank gave to the system in each phase, for sockets and files."""
    return [wire.by_phase(wire.stretches(traced / f"trace{rank}")) for rank in range(2)]


@pytest.fixture(scope="module")
def looked_for(study: Path) -> dict[str, list[bytes]]:
    """Scans, ages and keys of both sites in every common form."""
    return wire.forms(read_study(study))


def test_the_search_sees_what_it_looks_for(looked_for: dict[str, list[bytes]]) -> None:
    """Each form of each scan is found in a message that holds it, and nothing in one that does not."""
    for name, of_name in looked_for.items():
        assert all(name in wire.found(b"head" + form + b"tail", looked_for) for form in of_name)
    assert wire.found(np.random.default_rng(0).bytes(1 << 20), looked_for) == set()


def test_no_byte_of_a_scan_age_or_key_is_sent(sent: list[dict[str, bytes]], looked_for: dict[str, list[bytes]]) -> None:
    """From start to end of training no form of any scan is in anything that a rank writes or sends."""
    for phases in sent:
        assert len(phases["clean"]) > federated_rank.STEPS * 1000
        assert wire.found(phases["start"] + phases["clean"] + phases["done"], looked_for) == set()


@pytest.mark.parametrize("leak", ["float32", "bfloat16", "stored", "age"])
def test_a_planted_leak_is_seen_by_its_bytes(
    sent: list[dict[str, bytes]], looked_for: dict[str, list[bytes]], leak: str
) -> None:
    """Volumes as float32, bfloat16 or stored values, and ages, that are gathered on purpose are found."""
    for phases in sent:
        assert leak in wire.found(phases[leak], looked_for)


def budget() -> int:
    """Bytes that one step may send: the gradients once (two ranks in a ring), and a little for headers and sums."""
    weights = federated_rank.first_weights(int(np.prod(SHAPE)))
    return sum(weight.numel() * 8 for weight in weights.values()) + 2048


def test_a_step_sends_its_gradients_and_nothing_else(sent: list[dict[str, bytes]]) -> None:
    """The bytes of all steps stay within the budget; what they add up to is gradients."""
    for phases in sent:
        assert len(phases["clean"]) <= federated_rank.STEPS * budget()


def test_a_planted_leak_that_hides_its_bytes_breaks_the_budget(
    sent: list[dict[str, bytes]], looked_for: dict[str, list[bytes]]
) -> None:
    """A compressed and masked scan is found by no search, but a step with it sends more than it may."""
    for phases in sent:
        assert wire.found(phases["coded"], looked_for) == set()
        assert len(phases["clean"]) / federated_rank.STEPS + len(phases["coded"]) > budget()


def test_a_federated_run_trains_what_a_pooled_run_trains(traced: Path, study: Path) -> None:
    """Six steps over unequal shares end with the weights of one process over the whole batch, to summation order."""
    loader = federated_rank.make_loader(study, POOLED, 0, 1)
    weights = federated_rank.first_weights(int(np.prod(SHAPE)))
    for step, roles in enumerate(loader.batches(0, federated_rank.STEPS)):
        assert torch.bincount(roles["main"].domain).tolist() == [5, 2]
        federated_rank.take_step(weights, roles, loader, step)
    for rank in range(2):
        trained = torch.load(traced / f"weights{rank}.pt", weights_only=True)
        for name, weight in weights.items():
            assert not torch.equal(weight, federated_rank.first_weights(int(np.prod(SHAPE)))[name])
            torch.testing.assert_close(trained[name], weight, rtol=0, atol=1e-12)


def test_the_ranks_share_the_digest_of_the_plan_and_open_only_their_own_site(traced: Path) -> None:
    """An audit hook on every file that is opened sees one site a rank."""
    assert [(traced / f"opened{rank}").read_text() for rank in range(2)] == ["biobank", "oasis"]
    assert (traced / "digest0").read_text() == (traced / "digest1").read_text()


def hidden(study: Path, site: str) -> tuple[str, ...]:
    """Run a command in a mount namespace in which a site's folder is empty."""
    return ("unshare", "-r", "-m", "sh", "-c", f'mount -t tmpfs none {study}/{site} && exec "$@"', "sh")


@pytest.fixture(scope="module")
def can_hide(study: Path) -> Callable[[Path, str], tuple[str, ...]]:
    """`hidden`, where the system lets us."""
    if (
        not shutil.which("unshare")
        or subprocess.run((*hidden(study, "oasis"), "true"), capture_output=True, check=False).returncode
    ):
        pytest.skip("this system does not let a user make mount namespaces")
    return hidden


def test_each_rank_needs_nothing_but_its_own_folder(
    study: Path, tmp_path: Path, can_hide: Callable[[Path, str], tuple[str, ...]]
) -> None:
    """With the other site's folder hidden from each rank by the kernel, training goes through."""
    finish(
        start(0, study, tmp_path, before=can_hide(study, "oasis")),
        start(1, study, tmp_path, before=can_hide(study, "biobank")),
    )
    assert (tmp_path / "weights0.pt").exists()


def test_a_rank_that_reads_another_site_is_stopped_by_the_system(
    study: Path, tmp_path: Path, can_hide: Callable[[Path, str], tuple[str, ...]]
) -> None:
    """The planted leak: pooled placement, which reads every site on every rank, cannot run so; the refusal names the site."""
    rank = start(1, study, tmp_path, "--placement", "pooled", before=can_hide(study, "biobank"))
    said, _ = rank.communicate(timeout=240)
    assert rank.returncode == 1
    assert "refused: site biobank: no manifest.json" in said
