"""Whatever happens to the bytes of a shard either changes no scan or is named before a scan is trained on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from written_study import write_site

from distunlearn.errors import UserError
from distunlearn.streaming.manifest import read_study
from distunlearn.streaming.reader import IndexReader

SHARD = "oasis-train-000000.tar"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sites with two shards of three scans each."""
    for site in ("biobank", "oasis"):
        write_site(tmp_path, site, {"train": [50.0] * 6}, per_shard=3)
    return tmp_path


def everything(folder: Path) -> bytes:
    """The stored values of all scans."""
    study = read_study(folder)
    out = np.empty((len(study.table), *study.shape), dtype=np.int16)
    IndexReader(study).read(np.arange(len(study.table)), out)
    return out.tobytes()


def is_harmless(folder: Path, truth: bytes) -> bool:
    """Whether all scans are read as they were; otherwise the site and the shard must have been named."""
    try:
        read, told = everything(folder), ""
    except UserError as error:
        read, told = truth, str(error)
    assert read == truth
    assert not told or ("site oasis" in told and SHARD in told)
    return not told


@pytest.mark.parametrize("trials", [120, pytest.param(3000, marks=pytest.mark.slow)])
def test_flipped_bits_and_zeroed_blocks_are_harmless_or_named(folder: Path, trials: int) -> None:
    """A flip outside of the values (tar headers, padding) changes nothing; one inside is named; none is silent."""
    truth, shard = everything(folder), folder / "oasis" / SHARD
    whole, random = shard.read_bytes(), np.random.default_rng(0)
    harmless = 0
    for trial in range(trials):
        damaged = bytearray(whole)
        at = int(random.integers(len(whole)))
        if trial % 4:
            damaged[at] ^= 1 << int(random.integers(8))
        else:
            damaged[at : at + 64] = bytes(len(damaged[at : at + 64]))
        shard.write_bytes(damaged)
        harmless += is_harmless(folder, truth)
    assert 0 < harmless < trials


def test_every_cut_is_named(folder: Path) -> None:
    """Also a cut at the border of two members, which tar readers take for the end (cpython #120740)."""
    truth, shard = everything(folder), folder / "oasis" / SHARD
    whole = shard.read_bytes()
    for size in (*range(0, len(whole), 512), len(whole) - 1):
        shard.write_bytes(whole[:size])
        assert not is_harmless(folder, truth)


def swap(one: Path, other: Path) -> None:
    """Exchange two files."""
    between = one.with_suffix(".between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda site: (site / SHARD).unlink(),
    "two shards of a site exchanged": lambda site: swap(site / SHARD, site / "oasis-train-000001.tar"),
    "two sites' shards exchanged": lambda site: swap(
        site / SHARD, site.parent / "biobank" / "biobank-train-000000.tar"
    ),
    "one shard under two names": lambda site: shutil.copy(site / "oasis-train-000001.tar", site / SHARD),
    "a folder in its place": lambda site: ((site / SHARD).unlink(), (site / SHARD).mkdir()),
    "something appended": lambda site: (site / SHARD).write_bytes((site / SHARD).read_bytes() + b"more"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_shards_that_are_not_where_they_were_are_named(folder: Path, damage: str) -> None:
    """A table never reads another shard's bytes as its own scans."""
    truth = everything(folder)
    DAMAGES[damage](folder / "oasis")
    with pytest.raises(UserError, match=r"site (oasis|biobank): .*(oasis|biobank)-train-00000\d\.tar"):
        assert everything(folder) != truth


def test_members_that_are_code_are_never_looked_at(folder: Path, tmp_path: Path) -> None:
    """A scan is its bytes at an offset: a pickle in its place is bytes that are not those that were written."""
    study = read_study(folder)
    payload = b"cos\nsystem\n(S'touch " + str(tmp_path / "hacked").encode() + b"'\ntR."
    shard = folder / "oasis" / SHARD
    content = bytearray(shard.read_bytes())
    first = study.table[study.table["site"] == "oasis"].iloc[0]
    content[first["offset"] : first["offset"] + len(payload)] = payload
    shard.write_bytes(content)
    with pytest.raises(UserError, match="its bytes are not those"):
        everything(folder)
    assert not (tmp_path / "hacked").exists()
