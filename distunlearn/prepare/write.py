"""Shards on disk: whole or not at all, the same bytes every time, and not written twice."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from distunlearn.prepare.assign import Sample
from distunlearn.prepare.pseudonym import write_private
from distunlearn.prepare.refusal import Dropped
from distunlearn.prepare.work import Prepare, Prepared
from distunlearn.shard_format import ARRAY_SUFFIX, LABELS_SUFFIX, MISSING, ShardEntry, Split, shard_name

TAR_BLOCK = 512


@dataclass(frozen=True)
class ShardPlan:
    """Which samples go into one tar."""

    name: str
    split: Split
    samples: tuple[Sample, ...]
    digest: str
    """Of everything that its bytes depend on."""


@dataclass(frozen=True)
class ShardRecord:
    """What is known of a written shard."""

    entry: ShardEntry | None
    """None when every scan of it was refused."""
    rows: tuple[tuple[str, ...], ...]
    """Rows of the site's table."""
    dropped: tuple[Dropped, ...]


def plan_shards(site: str, samples: list[Sample], per_shard: int, *, done_to: dict[str, Any]) -> list[ShardPlan]:
    """Cut the samples of a site into shards, a split after the other, in the order of their keys."""
    plans = []
    for split in sorted({sample.split for sample in samples}):
        members = [sample for sample in samples if sample.split == split]
        for number, start in enumerate(range(0, len(members), per_shard)):
            part = tuple(members[start : start + per_shard])
            name = shard_name(site, split, number)
            plans.append(ShardPlan(name, split, part, _digest([name, done_to, [_inputs(sample) for sample in part]])))
    return plans


def write_shard(plan: ShardPlan, folder: Path, records: Path, prepare: Prepare) -> ShardRecord:
    """Write one shard and then the record of it."""
    (folder / plan.name).unlink(missing_ok=True)
    record = _write(plan, folder, prepare)
    write_private(_note(plan, records), json.dumps(_as_json(record)))
    return record


def find_shard(plan: ShardPlan, folder: Path, records: Path) -> ShardRecord | None:
    """The record of a shard that was written before and whose bytes are still what they were."""
    try:
        values = json.loads(_note(plan, records).read_text())
        entry = ShardEntry.model_validate(values["entry"]) if values["entry"] else None
        record = ShardRecord(
            entry, tuple(map(tuple, values["rows"])), tuple(Dropped(**drop) for drop in values["dropped"])
        )
        if entry and file_digest(folder / entry.name) != entry.xxh3:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is complete and on the disk."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w+b") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def file_digest(path: Path) -> str:
    """xxh3_128 hex digest of a file."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write(plan: ShardPlan, folder: Path, prepare: Prepare) -> ShardRecord:
    rows, dropped = [], []
    # The bytes of webdataset's TarWriter(mtime=0, encoder=False), whose import would bring torch along.
    with (
        whole_file(folder / plan.name) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for sample, prepared in zip(plan.samples, prepare(sample.scan for sample in plan.samples), strict=True):
            if prepared.array is None:
                dropped.append(_dropped(sample, prepared))
            else:
                rows.append(_add(tar, stream, plan, (sample, prepared)))
    if not rows:
        (folder / plan.name).unlink()
        return ShardRecord(None, (), tuple(dropped))
    size = (folder / plan.name).stat().st_size
    entry = ShardEntry(
        name=plan.name, split=plan.split, samples=len(rows), bytes=size, xxh3=file_digest(folder / plan.name)
    )
    return ShardRecord(entry, tuple(rows), tuple(dropped))


def _add(tar: tarfile.TarFile, stream: BinaryIO, plan: ShardPlan, done: tuple[Sample, Prepared]) -> tuple[str, ...]:
    """Add one sample to the tar and give its row of the table."""
    sample, prepared = done
    assert prepared.array is not None
    values = prepared.array.tobytes()
    npy = io.BytesIO()
    np.save(npy, prepared.array, allow_pickle=False)
    about = {"site": sample.scan.site, "subject": sample.subject, "session": sample.session, "split": sample.split,
             "scale": prepared.scale, **{name: _typed(cell) for name, cell in sample.labels.items()}}  # fmt: skip
    _member(tar, f"{sample.key}.{LABELS_SUFFIX}", json.dumps(about).encode())
    offset = stream.tell() + TAR_BLOCK + npy.getbuffer().nbytes - len(values)
    _member(tar, f"{sample.key}.{ARRAY_SUFFIX}", npy.getvalue())
    digest = xxhash.xxh3_128_hexdigest(values)
    place = (
        sample.key,
        sample.subject,
        str(sample.session),
        sample.split,
        plan.name,
        str(offset),
        str(len(values)),
        digest,
    )
    return (*place, repr(prepared.scale), f"{prepared.mean:.6g}", f"{prepared.sd:.6g}", *sample.labels.values())


def _member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode, info.uname, info.gname = len(data), 0, 0o444, "bigdata", "bigdata"
    tar.addfile(info, io.BytesIO(data))


def _typed(cell: str) -> float | str | None:
    if cell == MISSING:
        return None
    try:
        return float(cell)
    except ValueError:
        return cell


def _dropped(sample: Sample, prepared: Prepared) -> Dropped:
    scan = sample.scan
    place = f"scan {sample.key}" + (f", {scan.place}" if scan.place else "")
    return Dropped(scan.site, prepared.rule, prepared.reason, place, str(scan.path))


def _inputs(sample: Sample) -> list[Any]:
    """What the bytes of a sample depend on."""
    scan = sample.scan
    return [
        sample.key,
        sample.subject,
        sample.session,
        sample.labels,
        str(scan.path),
        _fingerprint(scan.path),
        scan.features,
    ]


def _fingerprint(path: Path | None) -> list[int]:
    try:
        status = path.stat() if path else None
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns] if status else []


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _note(plan: ShardPlan, records: Path) -> Path:
    return records / f"{plan.name}.{plan.digest}.json"


def _as_json(record: ShardRecord) -> dict[str, Any]:
    return {
        "entry": record.entry.model_dump() if record.entry else None,
        "rows": record.rows,
        "dropped": [vars(drop) for drop in record.dropped],
    }
