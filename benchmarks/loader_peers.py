"""The loaders that benchmarks/loader.py compares: each yields batches of 16 tensors for ever, its own way."""

import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loader_data import SHAPE
from torch.utils.data import DataLoader

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
    """Plan, index reader with digests checked, threads, reused buffers."""
    from distunlearn.streaming.loader import Loader
    from distunlearn.streaming.manifest import read_study
    from distunlearn.streaming.select import select
    from distunlearn.streaming.selection import Selection

    chosen = select(read_study(folder / "shards" / dtype), Selection(), split="train")
    loader = Loader(chosen.study, {"main": (chosen, chosen.plan(BATCH, seed=0, role="main"))}, threads=threads)
    for roles in loader.batches(0, 1_000_000):
        yield roles["main"].volume


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
OURS: dict[str, Start] = {
    f"distunlearn, {threads} thread{'s' * (threads != 1)}": partial(ours, threads=threads) for threads in (1, 4)
}
LIMIT = "np.fromfile (the limit)"
CONTENDERS: dict[str, Start] = {LIMIT: fromfile, **OURS, **PEERS}
