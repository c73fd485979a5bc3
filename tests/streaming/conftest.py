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
    **manifest: Any,
) -> Path:
    """Write one site's tars, table and manifest; `splits` holds the ages of each split's scans, None for a missing one."""
    folder = root / site
    folder.mkdir(parents=True)
    scans = [(split, i, age) for split, ages in splits.items() for i, age in enumerate(ages)]
    lines, shards = ["\t".join((*PLACE_COLUMNS, "age", "sex"))], []
    for split, ages in splits.items():
        mine = [scan for scan in scans if scan[0] == split]
        for number in range(-(-len(ages) // per_shard)):
            name = shard_name(site, split, number)
            part = mine[number * per_shard : (number + 1) * per_shard]
            lines += write_shard(folder / name, site, part, shape, dtype)
            whole = (folder / name).read_bytes()
            shards.append({
                "name": name,
                "split": split,
                "samples": len(part),
                "bytes": len(whole),
                "xxh3": xxhash.xxh3_128_hexdigest(whole),
            })
    table = ("\n".join(lines) + "\n").encode()
    (folder / TABLE).write_bytes(table)
    preprocessing = manifest.pop("preprocessing", PREPROCESSING)
    values = {
        "schema_version": 1, "site": site, "kind": "volume" if len(shape) == 3 else "features", "shape": shape, "dtype": dtype,
        "preprocessing": preprocessing, "preprocessing_digest": preprocessing_digest(preprocessing), "shards": shards,
        "table_xxh3": xxhash.xxh3_128_hexdigest(table), "labels": ["age", "sex"], "counts": {"found": len(scans), "written": len(scans)},
    } | manifest  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(values))
    return folder


def write_shard(
    path: Path, site: str, scans: list[tuple[str, int, float | None]], shape: tuple[int, ...], dtype: str
) -> list[str]:
    """Write a tar and give the rows of the table that point into it."""
    keys = [f"{site}{split}{number:04d}" for split, number, _ in scans]
    arrays = [stored_values(shape, dtype, seed_of(key)) for key in keys]
    with path.open("wb") as file, wds.TarWriter(file, encoder=False, mtime=0) as tar:
        for key, values in zip(keys, arrays, strict=True):
            npy = io.BytesIO()
            np.save(npy, values)
            tar.write({"__key__": key, "volume.npy": npy.getvalue(), "json": b"{}"})
    with tarfile.open(path) as tar_file:
        ends = {member.name: member.offset_data + member.size for member in tar_file}
    lines = []
    for key, values, (split, number, age) in zip(keys, arrays, scans, strict=True):
        start = ends[f"{key}.volume.npy"] - values.nbytes
        digest = xxhash.xxh3_128_hexdigest(values.tobytes())
        shown = "n/a" if age is None else f"{age:g}"
        row = (
            key,
            f"{site}{split}{number}",
            0,
            split,
            path.name,
            start,
            values.nbytes,
            digest,
            0.001,
            500,
            100,
            shown,
            "FM"[number % 2],
        )
        lines.append("\t".join(map(str, row)))
    return lines


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
