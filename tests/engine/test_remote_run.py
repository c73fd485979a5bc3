"""`distunlearn train` on shards that lie on a server ends with the weights, bit for bit, of a run that reads them from a disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from object_store import storing
from range_server import RangeServer, serving
from safetensors.numpy import load_file
from tiny_run import command, set_options

pytestmark = pytest.mark.slow


@pytest.fixture
def server(planted_shards: Path) -> Iterator[RangeServer]:
    """A web server that has the planted shards."""
    with serving(planted_shards) as served:
        yield served


def train(shards: str, run: Path, *settings: str, **environment: str) -> dict[str, np.ndarray]:
    """Train as a user does; the weights of the last stage."""
    options = ["--preset", "demo", "--shards", shards, "--out", str(run)]
    done = command(
        "distunlearn", "train", *options, *set_options("sites=[alpha,beta,gamma]", *settings), environment=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (run / "report.html").is_file()
    return load_file(run / "unlearning" / "model" / "model.safetensors")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether two networks are the same, bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_shards_on_a_web_server_are_trained_on(
    server: RangeServer, planted_shards: Path, planted_run: Path, tmp_path: Path
) -> None:
    """Nothing but the byte ranges of single scans is asked of a shard, and nothing is written beside the run."""
    before = sorted(planted_shards.rglob("*"))
    ours = train(server.address, tmp_path / "run")
    assert same(ours, load_file(planted_run / "unlearning" / "model" / "model.safetensors"))
    scan = 8 * 8 * 4 * 2
    sizes = [int(end) - int(start) + 1 for start, _, end in (asked.removeprefix("bytes=").partition("-") for asked in server.asked if asked)]  # fmt: skip
    assert set(sizes) == {scan}
    assert sorted(planted_shards.rglob("*")) == before


def test_shards_in_an_object_store_are_trained_on(planted_shards: Path, planted_run: Path, tmp_path: Path) -> None:
    """s3://… is read by byte ranges too."""
    with storing(planted_shards, "shards") as environment:
        ours = train("s3://shards", tmp_path / "run", **environment)
    assert same(ours, load_file(planted_run / "unlearning" / "model" / "model.safetensors"))


@pytest.mark.parametrize("source", ["a server without ranges", "a command"])
def test_shards_that_come_in_sequence_are_trained_on(
    source: str, server: RangeServer, planted_shards: Path, tmp_path: Path
) -> None:
    """Whole shards from front to end, a window of them in memory: the same weights whatever the stream is."""
    server.ranges = False
    stream = {
        "a server without ranges": [f"data.access.stream={server.address}/{{site}}/{{shard}}"],
        "a command": [
            f"data.access.stream='pipe:cat {planted_shards}/{{site}}/{{shard}}'",
            "data.access.allow_pipe=true",
        ],
    }[source]
    ours = train(server.address, tmp_path / "run", *stream)
    assert not any(server.asked)
    assert same(
        ours, train(str(planted_shards), tmp_path / "disk", f"data.access.stream={planted_shards}/{{site}}/{{shard}}")
    )
