"""The loaders that benchmarks/loader.py compares: each yields batches of 16 tensors for ever, its own way."""

import os
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

SHAPE = (128, 128, 32)
BATCH = 16


def mosaic() -> Any:
    """`streaming`, with the packages that it imports for text and pictures left empty."""
    for name, parts in {
        "transformers": (), "transformers.models": (), "transformers.models.auto": (), "transformers.models.auto.tokenization_auto": ("AutoTokenizer",),
        "transformers.feature_extraction_utils": ("BatchFeature",), "transformers.tokenization_utils_base": ("BatchEncoding",),
        "torchvision": (), "torchvision.datasets": ("VisionDataset", "CIFAR10"), "torchvision.transforms": (), "torchvision.transforms.functional": ("to_tensor",),
    }.items():  # fmt: skip
        module = sys.modules.setdefault(name, types.ModuleType(name))
        for part in parts:
            setattr(module, part, type(part, (), {}))
    import streaming

    return streaming


def ours(folder: Path, dtype: str, threads: int) -> Iterator[torch.Tensor]:
    """Plan, index reader with digests checked, threads, reused buffers.

    Sites in proportion, so that every scan is read as often as any other, as the peers read them: with equal shares the
    few scans of a small site would stay in the processor's cache.
    """
    from distunlearn.streaming.loader import Loader
    from distunlearn.streaming.manifest import read_study
    from distunlearn.streaming.select import select
    from distunlearn.streaming.selection import Selection

    chosen = select(read_study(folder / "shards" / dtype), Selection(), split="train")
    plan = chosen.plan(BATCH, seed=0, role="main", quota="proportional")
    loader = Loader(chosen.study, {"main": (chosen, plan)}, threads=threads)
    for roles in loader.batches(0, 1_000_000):
        yield roles["main"].volume


def copied(folder: Path, dtype: str) -> Iterator[torch.Tensor]:
    """The floor: the kernel's copy of the same bytes out of the same shards into one warm batch, unchecked, and nothing else."""
    from distunlearn.streaming.manifest import read_study
    from distunlearn.streaming.prefetch import Buffers

    study = read_study(folder / "shards" / dtype)
    files = {
        name: os.open(Path(study.root, *name), os.O_RDONLY)
        for name in set(zip(study.table["site"], study.table["shard"], strict=True))
    }
    places = [(files[site, shard], offset) for site, shard, offset in study.table[["site", "shard", "offset"]].values]
    batch = Buffers(study, 1).take(BATCH)
    stored, random = [scan.reshape(-1).view(np.uint8).data for scan in batch.array], np.random.default_rng(0)
    try:
        while True:
            for scan, row in zip(stored, random.permutation(len(places))[:BATCH].tolist(), strict=True):
                os.preadv(places[row][0], [scan], places[row][1])
            yield batch.tensor
    finally:
        for file in files.values():
            os.close(file)


def fromfile(folder: Path, dtype: str) -> Iterator[torch.Tensor]:
    """The limit of plain reading: np.fromfile into fresh memory, stacked into a batch."""
    files = sorted((folder / "raw" / dtype).glob("*.raw"))
    random = np.random.default_rng(0)
    while True:
        chosen = random.choice(len(files), BATCH)
        yield torch.from_numpy(np.stack([np.fromfile(files[place], dtype).reshape(SHAPE) for place in chosen]))


def webdataset(folder: Path, dtype: str, workers: int) -> Iterator[torch.Tensor]:
    """Its documented pipeline: shards shuffled, samples shuffled, decoded, batched by its loader."""
    import webdataset as wds

    urls = sorted(map(str, (folder / "shards" / dtype).glob("*/*.tar")))
    data = wds.WebDataset(urls, shardshuffle=100, empty_check=False).shuffle(64).decode().to_tuple("volume.npy")
    loader = wds.WebLoader(data, batch_size=BATCH, num_workers=workers)
    while True:
        for (batch,) in loader:
            yield batch


def mosaicml(folder: Path, dtype: str, workers: int) -> Iterator[torch.Tensor]:
    """StreamingDataset in a DataLoader."""
    data = mosaic().StreamingDataset(local=str(folder / "mds" / dtype), shuffle=True, batch_size=BATCH)
    while True:
        for batch in DataLoader(data, batch_size=BATCH, num_workers=workers, drop_last=True):
            yield batch["volume"]


def litdata(folder: Path, dtype: str, workers: int) -> Iterator[torch.Tensor]:
    """StreamingDataset and StreamingDataLoader."""
    from litdata import StreamingDataLoader, StreamingDataset

    data = StreamingDataset(str(folder / "litdata" / dtype), shuffle=True)
    while True:
        yield from StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, drop_last=True)


def monai_dataset(folder: Path, dtype: str) -> Any:
    """PersistentDataset over bare files; its cache lies beside them."""
    from monai.data import PersistentDataset

    files = sorted(map(str, folder.glob("*.raw")))
    return PersistentDataset(files, partial(_raw_tensor, dtype=dtype), cache_dir=folder / "cache")


def _raw_tensor(path: str, dtype: str) -> torch.Tensor:
    return torch.from_numpy(np.fromfile(path, dtype).reshape(SHAPE))


def monai(folder: Path, dtype: str, workers: int) -> Iterator[torch.Tensor]:
    """PersistentDataset in a DataLoader."""
    data = monai_dataset(folder / "monai" / dtype, dtype)
    while True:
        yield from DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers, drop_last=True)


Start = Callable[[Path, str], Iterator[torch.Tensor]]

PEERS: dict[str, Start] = {
    f"{name}, {workers} worker{'s' * (workers != 1)}": partial(start, workers=workers)
    for name, start in (
        ("webdataset + .decode()", webdataset),
        ("mosaicml-streaming", mosaicml),
        ("litdata", litdata),
        ("MONAI PersistentDataset", monai),
    )
    for workers in (0, 1)
}
DEFAULT = "distunlearn, 2 threads (the default)"
OURS: dict[str, Start] = {
    "distunlearn, 1 thread": partial(ours, threads=1),
    DEFAULT: partial(ours, threads=2),
    "distunlearn, 4 threads": partial(ours, threads=4),
}
FLOOR = "the copy alone: preadv, unchecked, in this thread, into one batch"
LIMIT = "np.fromfile (the limit)"
CONTENDERS: dict[str, Start] = {FLOOR: copied, LIMIT: fromfile, **OURS, **PEERS}
