"""Scans come from web servers and object stores byte for byte as from a disk, and damage is named there too."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from object_store import storing
from range_server import RangeServer, serving
from reading import damage_is_named, loader, read_first

from distunlearn.errors import UserError
from distunlearn.streaming import remote
from distunlearn.streaming.access import Access
from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.reader import IndexReader, open_reader
from distunlearn.streaming.remote import RangeReader

Folder = Callable[..., Path]
SITES = ("large", "small")


@pytest.fixture
def folder(study_folder: Folder) -> Path:
    """Two sites of 3 and 12 training scans."""
    return study_folder(small=[50.0, 60.0, 70.0], large=[40.0 + i for i in range(12)])


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    """A web server on this machine that serves the study."""
    with serving(folder) as served:
        yield served


def same_batches(one: Study, other: Study) -> bool:
    """Whether two studies give the same first batches, byte for byte."""
    pairs = zip(loader(one, 6).batches(0, 6), loader(other, 6).batches(0, 6), strict=True)
    return all(
        torch.equal(a["main"].scan, b["main"].scan) and torch.equal(a["main"].volume, b["main"].volume)
        for a, b in pairs
    )


def test_a_web_server_gives_the_batches_of_a_disk(folder: Path, server: RangeServer) -> None:
    """Manifests, tables and scans are read over http; of a shard only the scans' own bytes are asked for."""
    study = read_study(server.address, SITES)
    assert isinstance(open_reader(study), RangeReader)
    assert isinstance(open_reader(read_study(folder, SITES)), IndexReader)
    assert same_batches(study, read_study(folder, SITES))
    asked = [tuple(map(int, entry.removeprefix("bytes=").split("-"))) for entry in server.asked if entry]
    assert asked
    assert {end - start + 1 for start, end in asked} == {64}


def test_a_server_that_fails_for_a_moment_is_asked_again(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One failed request does not end a run; a server that keeps failing is named."""
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0, 0.0))
    study = read_study(server.address, SITES)
    server.failures = 2
    read_first(study)
    server.failures = 3
    with pytest.raises(UserError, match=r"site large: scan largetrain0000 in shard .*: the server does not give it"):
        read_first(study)


def test_a_server_without_ranges_is_named_with_the_remedy(server: RangeServer) -> None:
    """It would send the whole shard for every scan."""
    study = read_study(server.address, SITES)
    server.ranges = False
    with pytest.raises(UserError, match=r"it knows no byte ranges; give data\.access\.stream"):
        read_first(study)


def test_damage_on_a_server_is_named(folder: Path, server: RangeServer) -> None:
    """A changed byte, a cut shard and a missing one are named as on a disk."""
    study = read_study(server.address, SITES)
    damage_is_named(study, folder).unlink()
    with pytest.raises(UserError, match=r"the server does not give it \(FileNotFoundError\)"):
        read_first(study)


def test_a_server_without_ranges_can_be_streamed(folder: Path, server: RangeServer) -> None:
    """The same samples in the same order as a disk read with the same windows."""
    server.ranges = False
    over_http = read_study(server.address, SITES, access=Access(stream=server.address + "/{site}/{shard}"))
    from_disk = read_study(folder, SITES, access=Access(stream=f"{folder}/{{site}}/{{shard}}"))
    assert same_batches(over_http, from_disk)


def test_an_object_store_gives_the_batches_of_a_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3 is read through fsspec, by ranges; tried with moto's server."""
    with storing(folder, "shards") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        study = read_study("s3://shards")
        assert isinstance(open_reader(study), RangeReader)
        assert same_batches(study, read_study(folder))
