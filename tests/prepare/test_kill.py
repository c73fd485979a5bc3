"""`kill -9` at any moment of a run: nothing that a reader could take as complete, and the same bytes in the end."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from scans_on_disk import SMALL, bids_site, scan_file, tree

from distunlearn.prepare import PrepareConfig, shard
from distunlearn.prepare.writing.disk import file_digest

CONFIG = PrepareConfig.read({**SMALL, "shard_megabytes": 0.012}, "test")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two sites of eight people; the shards hold two or three scans each."""
    for site in ("siteA", "siteB"):
        bids_site(tmp_path / "study" / site)
    return tmp_path / "study"


def start(study: Path, out: Path) -> int:
    """Shard in a child process; its process id."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        shard([study], out, CONFIG)
        os._exit(0)
    return child


def wait_and_kill(child: int, seconds: float) -> bool:
    """Kill a child after a time; whether it was still running."""
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def complete_or_no_manifest(out: Path) -> None:
    """Whatever has a manifest is whole: every shard and the table have their digests."""
    for path in out.glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        assert file_digest(path.with_name("table.tsv")) == manifest["table_xxh3"]
        for entry in manifest["shards"]:
            assert file_digest(path.with_name(entry["name"])) == entry["xxh3"]


def kill_many_times(study: Path, folder: Path, kills: int) -> int:
    """Kill a run up to three times, finish it, compare; again and again. How many kills hit a run that was going on."""
    secrets = folder / "expected.secrets"
    shard([study], folder / "expected", CONFIG)
    began = time.monotonic()
    assert os.waitpid(start(study, folder / "timed"), 0)[1] == 0
    duration = time.monotonic() - began
    draw, landed, trial = random.Random(0), 0, 0
    while landed < kills:
        trial += 1
        out = folder / f"trial{trial}"
        out.with_name(f"{out.name}.secrets").mkdir()
        for secret in secrets.glob("*.secret"):
            (out.with_name(f"{out.name}.secrets") / secret.name).write_bytes(secret.read_bytes())
        for _ in range(3):
            landed += wait_and_kill(start(study, out), draw.uniform(0, 1.1 * duration))
            complete_or_no_manifest(out)
        shard([study], out, CONFIG)
        assert tree(out) == tree(folder / "expected")
    return landed


def test_twenty_kills_leave_nothing_damaged_and_end_in_the_same_bytes(study: Path, tmp_path: Path) -> None:
    """The short form of the next test."""
    assert kill_many_times(study, tmp_path, 20) >= 20


@pytest.mark.slow
def test_three_hundred_kills_leave_nothing_damaged_and_end_in_the_same_bytes(study: Path, tmp_path: Path) -> None:
    """No failure in 300 means fewer than 1 in 100 with 95 % confidence."""
    assert kill_many_times(study, tmp_path, 300) >= 300


def test_a_kill_while_changed_scans_are_written_again_leaves_no_old_manifest_over_new_shards(
    study: Path, tmp_path: Path
) -> None:
    """The manifest goes first when a shard must be rewritten, and comes back last."""
    out, draw, landed = tmp_path / "out", random.Random(1), 0
    shard([study], out, CONFIG)
    for trial in range(10):
        scan_file(study / "siteA/sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", 100 + trial)
        landed += wait_and_kill(start(study, out), draw.uniform(0, 0.15))
        complete_or_no_manifest(out)
    shard([study], out, CONFIG)
    expected = tmp_path / "expected"
    shard([study], expected, CONFIG, secrets=tmp_path / "out.secrets")
    assert tree(out) == tree(expected)
    assert landed > 0
