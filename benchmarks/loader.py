"""How fast scans reach the training loop, beside the loaders that others use, as markdown tables for docs/benchmarks.md.

    python -m venv peers
    python -c "import os, site; print(site.getsitepackages()[0], os.getcwd(), sep=chr(10))" > "$(echo peers/lib/python3*/site-packages)/project.pth"
    peers/bin/pip install --no-deps mosaicml-streaming catalogue litdata monai lightning-utilities obstore tifffile brotli zstd python-snappy cramjam boto3 botocore s3transfer jmespath
    peers/bin/python benchmarks/loader.py FOLDER --rounds 7

The peers are needed here only. All loaders read the same scans (1×128×128×32, in the page cache) in batches of 16; they take turns, round by round, so
that a busy moment of the machine meets all of them, and the median of the rounds counts. CPU seconds are those of this
process and of its worker processes.
"""

import argparse
import multiprocessing
import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
import xxhash
from loader_data import prepare
from loader_peers import BATCH, CONTENDERS, DEFAULT, FLOOR, LIMIT, PEERS, SHAPE

from distunlearn.streaming.manifest import read_study
from distunlearn.streaming.prefetch import Buffers
from distunlearn.streaming.reader import IndexReader

WARM_UP = 8
TICK = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Of one run of one loader."""

    cpu: float
    wall: float


def clock() -> Cost:
    """CPU seconds of this process and of its workers, those that have ended and those that live, and the time."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = time.process_time() + ended.ru_utime + ended.ru_stime
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(") ")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) / TICK
    return Cost(cpu, time.perf_counter())


def cost(work: Callable[[], object]) -> Cost:
    """What a piece of work costs."""
    before = clock()
    work()
    after = clock()
    return Cost(after.cpu - before.cpu, after.wall - before.wall)


def run(batches: Iterator[torch.Tensor], number: int) -> Cost:
    """Take some batches after a few that are not counted, in which workers start and buffers are filled for the first time."""

    def take() -> None:
        for _ in range(number):
            assert next(batches).shape[-3:] == SHAPE

    for _ in range(WARM_UP):
        next(batches)
    return cost(take)


def whole_loaders(folder: Path, rounds: int, number: int, dtype: str) -> dict[str, Cost]:
    """The median cost a batch of every loader, over rounds in which all take turns."""
    costs: dict[str, list[Cost]] = defaultdict(list)
    for turn in range(rounds):
        names = list(CONTENDERS)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            batches = CONTENDERS[name](folder, dtype)
            costs[name].append(run(batches, number))
            del batches
    return {
        name: Cost(*(median(column) / number for column in zip(*each, strict=True))) for name, each in costs.items()
    }


def one_process(folder: Path, rounds: int, dtype: str) -> dict[str, Cost]:
    """Reading alone, in this thread: the median cost of 16 scans."""
    costs: dict[str, list[Cost]] = defaultdict(list)
    ways = reading_ways(folder, dtype)
    random = np.random.default_rng(1)
    for _ in range(rounds * 20):
        chosen = random.permutation(sum(1 for _ in (folder / "raw" / dtype).glob("*.raw")))[:BATCH]
        for name, way in ways.items():
            costs[name].append(cost(lambda way=way, chosen=chosen: way(chosen)))
    return {name: Cost(*(median(column) for column in zip(*each, strict=True))) for name, each in costs.items()}


def reading_ways(folder: Path, dtype: str) -> dict[str, Callable[[np.ndarray], object]]:
    """Ways to get some scans into memory."""
    study = read_study(folder / "shards" / dtype)
    reader, buffer = IndexReader(study), Buffers(study, 1).take(BATCH).array
    files = sorted((folder / "raw" / dtype).glob("*.raw"))

    def dropped(chosen: np.ndarray) -> None:
        for number in chosen:
            np.fromfile(files[number], dtype)

    def memory_maps(chosen: np.ndarray) -> None:
        for place, number in enumerate(chosen):
            buffer[place] = np.memmap(files[number], dtype, "r", shape=SHAPE)

    return {
        LIMIT: dropped,
        "np.fromfile, 16 scans kept": lambda chosen: [np.fromfile(files[number], dtype) for number in chosen],
        "memory maps copied into a batch, unchecked": memory_maps,
        "memory maps kept open, copied into a batch, digests checked": kept_maps(files, dtype, buffer),
        "distunlearn: preadv into a batch, digests checked": lambda chosen: reader.read(chosen, buffer),
    }


def kept_maps(files: list[Path], dtype: str, buffer: np.ndarray) -> Callable[[np.ndarray], object]:
    """What our reader would do with maps that stay open; a file that is cut off then ends the process, unnamed."""
    kept = [np.memmap(file, dtype, "r", shape=SHAPE) for file in files]

    def read(chosen: np.ndarray) -> None:
        for place, number in enumerate(chosen):
            buffer[place] = kept[number]
            xxhash.xxh3_128_hexdigest(buffer[place].data)

    return read


def table(title: str, costs: dict[str, Cost], base: str) -> None:
    """Print scans a second of CPU and of time, and how they compare with one of the rows."""
    print(
        f"\n**{title}**\n\n| | scans per CPU second | scans per second | CPU, relative | time, relative |\n|---|--:|--:|--:|--:|"
    )
    for name, each in sorted(costs.items(), key=lambda entry: entry[1].cpu):
        relative = (costs[base].cpu / each.cpu, costs[base].wall / each.wall)
        print(f"| {name} | {BATCH / each.cpu:.0f} | {BATCH / each.wall:.0f} | {relative[0]:.2f} | {relative[1]:.2f} |")


def verdict(costs: dict[str, Cost]) -> None:
    """Print how our default compares with the copy alone, webdataset's pipeline and the best peers."""
    mine = costs[DEFAULT]
    for kind, names in {
        "the copy alone, which checks nothing and reads while the training process waits": [FLOOR],
        "webdataset's pipeline": [name for name in PEERS if name.startswith("webdataset")],
        "the best peer that reads while the training process waits": [
            name for name in PEERS if name.endswith(" 0 workers")
        ],
        "the best peer that reads beside the training process": [name for name in PEERS if name.endswith(" 1 worker")],
    }.items():
        cpu, wall = (min(costs[name][column] for name in names) / mine[column] for column in (0, 1))
        print(f"\n{cpu:.1f} times the scans per CPU second and {wall:.1f} times the scans per second of {kind}.")


def memory(folder: Path) -> None:
    """Print the growth of this process over 2,000 steps."""
    batches = CONTENDERS[DEFAULT](folder, "int16")
    sizes = []
    for step in range(2001):
        next(batches)
        if step in {100, 2000}:
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
    print(f"\nResident memory after 100 steps {sizes[0]:.0f} MiB, after 2,000 steps {sizes[1]:.0f} MiB.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, help="where the scans are written once (about 7 GB for 256 scans) and read from"
    )
    parser.add_argument("--scans", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=32, help="that a loader gives in its turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for dtype in ("int16", "float32"):
        prepare(options.folder, options.scans, dtype)
        if dtype == "int16":
            memory(options.folder)
        table(f"Reading alone, one thread, {dtype}", one_process(options.folder, options.rounds, dtype), LIMIT)
        costs = whole_loaders(options.folder, options.rounds, options.batches, dtype)
        table(f"Whole loader, batches of 16 in {dtype}", costs, LIMIT)
        verdict(costs)


if __name__ == "__main__":
    main()
