"""The same scans in the form that each loader of benchmarks/loader.py wants."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import webdataset as wds
import xxhash
from loader_peers import SHAPE, monai_dataset, mosaic

from distunlearn.shard_format import MANIFEST, PLACE_COLUMNS, TABLE, preprocessing_digest, shard_name

SITES = {"biobank": 0.75, "oasis": 0.18, "whitehall": 0.07}
"""Share of the scans, about those of the paper's training sets."""
PER_SHARD = 64
SCALE = np.float32(0.001)


def volumes(scans: int, dtype: str) -> Iterator[np.ndarray]:
    """Noise, which no cache or codec makes smaller."""
    random = np.random.default_rng(0)
    for _ in range(scans):
        stored = random.integers(-3000, 3000, SHAPE, dtype=np.int16)
        yield stored if dtype == "int16" else stored * SCALE


def npy(values: np.ndarray) -> bytes:
    """A scan as an .npy file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def raw(folder: Path, scans: int, dtype: str) -> None:
    """A file of bare values a scan."""
    for number, values in enumerate(volumes(scans, dtype)):
        values.tofile(folder / f"{number:05d}.raw")


def shards(folder: Path, scans: int, dtype: str) -> None:
    """The package's own format; its tars are also what webdataset's pipeline reads."""
    source = volumes(scans, dtype)
    for site, share in SITES.items():
        _write_site(folder / site, [next(source) for _ in range(round(scans * share))])


def _write_site(folder: Path, arrays: list[np.ndarray]) -> None:
    folder.mkdir()
    site, dtype, entries, lines = folder.name, str(arrays[0].dtype), [], ["\t".join(PLACE_COLUMNS)]
    for number, first in enumerate(range(0, len(arrays), PER_SHARD)):
        path = folder / shard_name(site, "train", number)
        part = {f"{site}{first + place:05d}": values for place, values in enumerate(arrays[first : first + PER_SHARD])}
        with path.open("wb") as file, wds.TarWriter(file, encoder=False, mtime=0) as tar:
            for key, values in part.items():
                tar.write({"__key__": key, "volume.npy": npy(values), "json": b"{}"})
        with tarfile.open(path) as tar_file:
            ends = {member.name: member.offset_data + member.size for member in tar_file}
        for key, values in part.items():
            place = (ends[f"{key}.volume.npy"] - values.nbytes, values.nbytes, xxhash.xxh3_128_hexdigest(values.data))
            scale = SCALE if dtype == "int16" else 1
            lines.append("\t".join(map(str, (key, key, 0, "train", path.name, *place, scale, 0, 1))))
        entries.append({
            "name": path.name,
            "split": "train",
            "samples": len(part),
            "bytes": path.stat().st_size,
            "xxh3": "not needed",
        })
    table = ("\n".join(lines) + "\n").encode()
    (folder / TABLE).write_bytes(table)
    manifest = {
        "site": site, "kind": "volume", "shape": SHAPE, "dtype": dtype, "preprocessing": {}, "preprocessing_digest": preprocessing_digest({}),
        "shards": entries, "table_xxh3": xxhash.xxh3_128_hexdigest(table), "labels": [], "counts": {"found": len(arrays), "written": len(arrays)},
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest))


def mds(folder: Path, scans: int, dtype: str) -> None:
    """MosaicML's shards."""
    with mosaic().MDSWriter(
        out=str(folder), columns={"volume": f"ndarray:{dtype}:{','.join(map(str, SHAPE))}"}, size_limit="128mb"
    ) as out:
        for values in volumes(scans, dtype):
            out.write({"volume": values})


def litdata(folder: Path, scans: int, dtype: str) -> None:
    """Litdata's chunks."""
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_bytes="128MB")
    for number, values in enumerate(volumes(scans, dtype)):
        writer[number] = torch.from_numpy(values)
    writer.done()
    writer.merge(1)


def monai(folder: Path, scans: int, dtype: str) -> None:
    """Bare files for PersistentDataset, which fills its cache in the first pass."""
    raw(folder, scans, dtype)
    for _ in monai_dataset(folder, dtype):
        pass


WRITERS: dict[str, Callable[[Path, int, str], None]] = {
    "raw": raw,
    "shards": shards,
    "mds": mds,
    "litdata": litdata,
    "monai": monai,
}


def prepare(folder: Path, scans: int, dtype: str) -> None:
    """Write every form in one type, once, and have all of it read from the disk into the page cache in the same way.

    How a file came into the page cache matters: one that was written in small pieces a moment ago, or read in no order,
    is read two to three times slower than one that was read from front to back, until it has left the cache.
    """
    for form, write in WRITERS.items():
        place = folder / form / dtype
        if (folder / f"{form}-{dtype}-{scans}").exists():
            continue
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        write(place, scans, dtype)
        (folder / f"{form}-{dtype}-{scans}").touch()
    for path in sorted(path for form in WRITERS for path in (folder / form / dtype).rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while file.read(1 << 20):
                pass
