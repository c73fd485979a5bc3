"""A small study in the shard format, written with numpy and webdataset only: what is in it is known without preparing it."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds
import xxhash

from distunlearn.shard_format import MANIFEST, PLACE_COLUMNS, TABLE, preprocessing_digest, shard_name

SHAPE = (4, 4, 2)
PREPROCESSING = {"grid": [4, 4, 2], "keep_every": 4, "normalise": "volume"}
SCALE = 0.001
"""Stored value to normalised value, of every scan."""

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
    overwritten: int | None = None,
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
        overwritten: put in place of the first 32 values of every scan.
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
            for values in arrays if overwritten is not None else ():
                values.reshape(-1)[:32] = overwritten
            for key, age, place in zip(keys, ages[first:], write_shard(folder / name, keys, arrays), strict=False):
                shown, sex = "n/a" if age is None else f"{age:g}", "FM"[int(key[-4:]) % 2]
                row = (key, f"person{key}", 0, split, name, *place, SCALE, 500, 100, shown, sex)
                lines.append("\t".join(map(str, row)))
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


def change_table(folder: Path, old: str, new: str) -> None:
    """Replace text in a site's table, as if it had been written so."""
    table = (folder / TABLE).read_text().replace(old, new).encode()
    (folder / TABLE).write_bytes(table)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"table_xxh3": xxhash.xxh3_128_hexdigest(table)}))


def rename_person(folder: Path, old: str, new: str) -> None:
    """Give a person of a site the pseudonym of another one."""
    change_table(folder, f"\t{old}\t", f"\t{new}\t")


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
