"""Federated placement trains what pooled placement trains, and no scan leaves its rank: shown by the operating system."""

import base64
import os
import re
import shutil
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import federated_rank
import numpy as np
import pytest
import torch
from conftest import write_site

from distunlearn.streaming.placement import POOLED

pytestmark = pytest.mark.distributed

SHAPE = (16, 16, 4)
AGES = {"biobank": [51.37, 64.13], "oasis": [48.91, 62.77]}
CANARY = {"biobank": 4321, "oasis": -2777}
"""Stored values, 32 in a row in every scan of the site, that no other scan has."""
SYSTEM_CALLS = "sendto,sendmsg,sendmmsg,write,writev,pwrite64,pwritev,pwritev2,sendfile,splice"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites of unequal size whose scans carry a canary."""
    root = tmp_path_factory.mktemp("shards")
    for site, times in (("biobank", 12), ("oasis", 5)):
        write_site(root, site, {"train": AGES[site] * times}, shape=SHAPE, canary=CANARY[site])
    return root


def start(
    rank: int, study: Path, out: Path, *options: str, before: tuple[str, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    """Start one of two ranks, under another program where `before` says so."""
    command = (*before, sys.executable, federated_rank.__file__, str(study), str(out), *options)
    settings = {"RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
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
    ranks = [
        start(
            rank,
            study,
            out,
            "--leaks",
            before=(
                "strace",
                "-f",
                "--seccomp-bpf",
                "-qq",
                "-xx",
                "-s",
                "1048576",
                "-e",
                f"trace={SYSTEM_CALLS}",
                "-o",
                f"{out}/trace{rank}",
            ),
        )
        for rank in range(2)
    ]
    finish(*ranks)
    return out


def sent(trace: Path) -> dict[str, bytes]:
    """What a rank gave to the system in each phase, to whatever file or socket but the terminal's."""
    phases: dict[str, list[bytes]] = defaultdict(list)
    phase = "start"
    for line in trace.read_text().splitlines():
        call = re.match(r"\d+ +\w+\((\d+), ", line)
        if not call:
            continue
        content = b"".join(
            bytes.fromhex(part.replace("\\x", "")) for part in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', line)
        )
        if call[1] in {"1", "2"}:
            marker = re.fullmatch(rb"PHASE (\w+)\n", content)
            phase = marker[1].decode() if marker else phase
        else:
            phases[phase].append(content)
    return {name: b"".join(parts) for name, parts in phases.items()}


def canaries(site: str) -> dict[str, bytes]:
    """What would be seen if a scan of the site, its person's age or its key were sent, in any common form."""
    stored = np.full(12, CANARY[site], np.int16)
    values = stored.astype(np.float32) * np.float32(0.001)
    half = torch.from_numpy(values)
    forms = {
        "stored": stored.tobytes(), "float32": values.tobytes(), "float64": (stored.astype(np.float64) * np.float32(0.001)).tobytes(),
        "float16": half.half().numpy().tobytes(), "bfloat16": half.bfloat16().view(torch.int16).numpy().tobytes(),
        "text": ", ".join(map(str, stored)).encode(), "age": struct.pack("f", AGES[site][0]), "other age": struct.pack("f", AGES[site][1]), "age64": struct.pack("d", AGES[site][0]),
        "key": f"{site}train00".encode(),
    }  # fmt: skip
    encoded = {
        f"{name} in base64": base64.b64encode(content)[4:-4] for name, content in forms.items() if len(content) > 16
    }
    return forms | encoded


def found(content: bytes) -> set[str]:
    """The forms of either site's canaries in what was sent."""
    return {name for site in CANARY for name, form in canaries(site).items() if form in content}


def test_the_canary_search_sees_what_it_looks_for() -> None:
    """Each form is found in a message that holds it, and nothing in one that does not."""
    for site in CANARY:
        for name, form in canaries(site).items():
            assert name in found(b"head" + form + b"tail")
    assert found(np.random.default_rng(0).bytes(1 << 20)) == set()


def test_no_byte_of_a_scan_age_or_key_is_sent(traced: Path) -> None:
    """From start to end of training no form of any canary is in anything that a rank writes or sends."""
    for rank in range(2):
        phases = sent(traced / f"trace{rank}")
        assert len(phases["clean"]) > federated_rank.STEPS * 1000
        assert found(phases["start"]) | found(phases["clean"]) | found(phases["done"]) == set()


@pytest.mark.parametrize("leak", ["float32", "bfloat16", "stored", "age"])
def test_a_planted_leak_is_seen_by_its_bytes(traced: Path, leak: str) -> None:
    """Volumes as float32, bfloat16 or stored values, and ages, that are gathered on purpose are found."""
    for rank in range(2):
        assert any(leak in form for form in found(sent(traced / f"trace{rank}")[leak]))


def budget() -> int:
    """Bytes that one step may send: the gradients once (two ranks in a ring), and a little for headers and sums."""
    weights = federated_rank.first_weights(int(np.prod(SHAPE)))
    return sum(weight.numel() * 8 for weight in weights.values()) + 2048


def test_a_step_sends_its_gradients_and_nothing_else(traced: Path) -> None:
    """The bytes of all steps stay within the budget; what they add up to is gradients."""
    for rank in range(2):
        assert len(sent(traced / f"trace{rank}")["clean"]) <= federated_rank.STEPS * budget()


def test_a_planted_leak_that_hides_its_bytes_breaks_the_budget(traced: Path) -> None:
    """Compressed and masked scans have no canary in them, but a step with them sends more than it may."""
    for rank in range(2):
        phases = sent(traced / f"trace{rank}")
        assert found(phases["coded"]) == set()
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
