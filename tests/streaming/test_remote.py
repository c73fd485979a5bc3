"""Scans come from web servers and object stores byte for byte as from a disk, and damage is named there too."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from distunlearn.errors import UserError
from distunlearn.streaming import remote
from distunlearn.streaming.access import Access
from distunlearn.streaming.loader import Loader
from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.reader import IndexReader, open_reader
from distunlearn.streaming.remote import RangeReader
from distunlearn.streaming.select import Selection, select

Folder = Callable[..., Path]
SITES = ("large", "small")


class RangeServer(ThreadingHTTPServer):
    """Serves a folder; knows byte ranges unless told not to, and fails as often as it is told to."""

    ranges = True
    failures = 0
    asked: list[str]


class RangeHandler(SimpleHTTPRequestHandler):
    """One request."""

    server: RangeServer

    def do_GET(self) -> None:
        """Send the bytes that were asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.server.asked.append(self.headers.get("Range", ""))
        if asked and self.server.failures:
            self.server.failures -= 1
            self.send_error(503)
        elif asked and self.server.ranges and Path(self.translate_path(self.path)).is_file():
            content = Path(self.translate_path(self.path)).read_bytes()
            part = content[int(asked[1]) : int(asked[2]) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {asked[1]}-{asked[2]}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def folder(study_folder: Folder) -> Path:
    """Two sites of 3 and 12 training scans."""
    return study_folder(small=[50.0, 60.0, 70.0], large=[40.0 + i for i in range(12)])


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    """A web server on this machine that serves the study."""
    served = RangeServer(("127.0.0.1", 0), lambda *args: RangeHandler(*args, directory=str(folder)))
    served.asked = []
    served.daemon_threads = True
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def address(server: RangeServer) -> str:
    """The root of the study on the server."""
    return f"http://127.0.0.1:{server.server_address[1]}"


def loader(study: Study) -> Loader[str]:
    """A loader of all training scans."""
    chosen = select(study, Selection(), split="train")
    return Loader(study, {"main": (chosen, chosen.plan(6, seed=0, role="main"))})


def same_batches(one: Study, other: Study) -> bool:
    """Whether two studies give the same first batches, byte for byte."""
    pairs = zip(loader(one).batches(0, 6), loader(other).batches(0, 6), strict=True)
    return all(
        torch.equal(a["main"].scan, b["main"].scan) and torch.equal(a["main"].volume, b["main"].volume)
        for a, b in pairs
    )


def test_a_web_server_gives_the_batches_of_a_disk(folder: Path, server: RangeServer) -> None:
    """Manifests, tables and scans are read over http; of a shard only the scans' own bytes are asked for."""
    study = read_study(address(server), SITES)
    assert isinstance(open_reader(study), RangeReader)
    assert isinstance(open_reader(read_study(folder, SITES)), IndexReader)
    assert same_batches(study, read_study(folder, SITES))
    asked = [tuple(map(int, entry.removeprefix("bytes=").split("-"))) for entry in server.asked if entry]
    assert asked
    assert {end - start + 1 for start, end in asked} == {64}


def test_a_server_that_fails_for_a_moment_is_asked_again(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One failed request does not end a run; a server that keeps failing is named."""
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0, 0.0))
    study = read_study(address(server), SITES)
    out = np.empty((1, *study.shape), dtype=np.int16)
    server.failures = 2
    RangeReader(study).read(np.array([0]), out)
    server.failures = 3
    with pytest.raises(UserError, match=r"site large: scan largetrain0000 in shard .*: the server does not give it"):
        RangeReader(study).read(np.array([0]), out)


def test_a_server_without_ranges_is_named_with_the_remedy(server: RangeServer) -> None:
    """It would send the whole shard for every scan."""
    study = read_study(address(server), SITES)
    server.ranges = False
    with pytest.raises(UserError, match=r"it knows no byte ranges; give data\.access\.stream"):
        RangeReader(study).read(np.array([0]), np.empty((1, *study.shape), dtype=np.int16))


def test_damage_on_a_server_is_named(folder: Path, server: RangeServer) -> None:
    """A changed byte, a cut shard and a missing one are named as on a disk."""
    study = read_study(address(server), SITES)
    row = study.table.index[study.table["site"] == "small"][:1].to_numpy()
    scan, out = study.table.loc[row[0]], np.empty((1, *study.shape), dtype=np.int16)
    shard = folder / "small" / scan["shard"]
    content = bytearray(shard.read_bytes())
    content[scan["offset"]] ^= 1
    for damaged, message in (
        (content, "its bytes are not those"),
        (content[: scan["offset"] + 9], "the shard ends before it"),
    ):
        shard.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"site small: scan {scan['key']} in shard {scan['shard']}: {message}"):
            RangeReader(study).read(row, out)
    shard.unlink()
    with pytest.raises(UserError, match=r"the server does not give it \(FileNotFoundError\)"):
        RangeReader(study).read(row, out)


def test_a_server_without_ranges_can_be_streamed(folder: Path, server: RangeServer) -> None:
    """The same samples in the same order as a disk read with the same windows."""
    server.ranges = False
    over_http = read_study(address(server), SITES, access=Access(stream=address(server) + "/{site}/{shard}"))
    from_disk = read_study(folder, SITES, access=Access(stream=f"{folder}/{{site}}/{{shard}}"))
    assert same_batches(over_http, from_disk)


def test_an_object_store_gives_the_batches_of_a_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3 is read through fsspec, by ranges; tried with moto's server where moto and s3fs are installed."""
    pytest.importorskip("s3fs", reason="pip install s3fs to try s3")
    server = pytest.importorskip("moto.server", reason="pip install 'moto[server]' to try s3").ThreadedMotoServer(
        "127.0.0.1", 0
    )
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        bucket = boto3.resource("s3", endpoint_url=endpoint).create_bucket(Bucket="shards")
        for path in folder.rglob("*.*"):
            bucket.upload_file(str(path), str(path.relative_to(folder)).replace(os.sep, "/"))
        study = read_study("s3://shards")
        assert isinstance(open_reader(study), RangeReader)
        assert same_batches(study, read_study(folder))
    finally:
        server.stop()
