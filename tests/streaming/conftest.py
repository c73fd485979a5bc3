"""A small study in the shard format, written with numpy and webdataset only."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
import xxhash

from distunlearn.shard_format import MANIFEST, PLACE_COLUMNS, TABLE, preprocessing_digest, shard_name

SHAPE = (4, 4, 2)
PREPROCESSING = {"grid": [4, 4, 2], "keep_every": 4, "normalise": "volume"}

Ages = Mapping[str, list[float | None]]


def stored_values(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """The stored values of one scan, known from its seed alone."""
    values = np.random.default_rng(seed).integers(-3000, 3000, size=shape)
    return values.astype(dtype)


def write_site(
    root: Path,
    site: str,
    splits: Ages,
    *,
    per_shard: int = 5,
    shape: tuple[int, ...] = SHAPE,
    dtype: str = "int16",
    canary: int | None = None,
    **manifest: Any,
) -> Path:
    """Write one site's tars, table and manifest.

    Args:
        root: the folder of the study.
        site: its name.
        splits: the ages of each split's scans, None for a missing one.
        per_shard: scans in a tar.
        shape: of a scan.
        dtype: of the stored values.
        canary: written over the first 32 values of every scan.
        manifest: entries to write instead of the right ones.
    """
    folder = root / site
    folder.mkdir(parents=True)
    lines, shards = ["\t".join((*PLACE_COLUMNS, "age", "sex"))], []
    for split, ages in splits.items():
        for number, first in enumerate(range(0, len(ages), per_shard)):
            name = shard_name(site, split, number)
            keys = [f"{site}{split}{scan:04d}" for scan in range(first, min(first + per_shard, len(ages)))]
            arrays = [stored_values(shape, dtype, seed_of(key)) for key in keys]
            for values in arrays if canary is not None else ():
                values.reshape(-1)[:32] = canary
            for key, age, place in zip(keys, ages[first:], write_shard(folder / name, keys, arrays), strict=False):
                shown = "n/a" if age is None else f"{age:g}"
                lines.append(
                    "\t".join(
                        map(
                            str,
                            (
                                key,
                                f"person{key}",
                                0,
                                split,
                                name,
                                *place,
                                0.001,
                                500,
                                100,
                                shown,
                                "FM"[int(key[-4:]) % 2],
                            ),
                        )
                    )
                )
            whole = (folder / name).read_bytes()
            shards.append({
                "name": name,
                "split": split,
                "samples": len(keys),
                "bytes": len(whole),
                "xxh3": xxhash.xxh3_128_hexdigest(whole),
            })
    table = ("\n".join(lines) + "\n").encode()
    (folder / TABLE).write_bytes(table)
    preprocessing, scans = manifest.pop("preprocessing", PREPROCESSING), len(lines) - 1
    values = {
        "schema_version": 1, "site": site, "kind": "volume" if len(shape) == 3 else "features", "shape": shape, "dtype": dtype,
        "preprocessing": preprocessing, "preprocessing_digest": preprocessing_digest(preprocessing), "shards": shards,
        "table_xxh3": xxhash.xxh3_128_hexdigest(table), "labels": ["age", "sex"], "counts": {"found": scans, "written": scans},
    } | manifest  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(values))
    return folder


def write_shard(path: Path, keys: list[str], arrays: list[np.ndarray]) -> list[tuple[int, int, str]]:
    """Write a tar and give where the values of each scan lie in it: offset, bytes, digest."""
    with path.open("wb") as file, wds.TarWriter(file, encoder=False, mtime=0) as tar:
        for key, values in zip(keys, arrays, strict=True):
            npy = io.BytesIO()
            np.save(npy, values)
            tar.write({"__key__": key, "volume.npy": npy.getvalue(), "json": b"{}"})
    with tarfile.open(path) as tar_file:
        ends = {member.name: member.offset_data + member.size for member in tar_file}
    return [
        (ends[f"{key}.volume.npy"] - values.nbytes, values.nbytes, xxhash.xxh3_128_hexdigest(values.tobytes()))
        for key, values in zip(keys, arrays, strict=True)
    ]


def seed_of(key: str) -> int:
    """The seed of a scan's values."""
    return xxhash.xxh32_intdigest(key.encode())


@pytest.fixture
def study_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write sites of the given train ages (or splits of ages) and give the folder that holds them."""

    def write(**sites: Any) -> Path:
        for site, ages in sites.items():
            splits = ages if isinstance(ages, dict) else {"train": ages, "test": [50.0, 60.0]}
            write_site(tmp_path / "shards", site, splits)
        return tmp_path / "shards"

    return write
