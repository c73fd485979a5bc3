"""The shards of a site: which samples go into which tar, and writing one so that it is never written twice."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from distunlearn.prepare.assign import Sample
from distunlearn.prepare.refusal import Dropped, Refusal
from distunlearn.prepare.voxels.nifti import files_of
from distunlearn.prepare.writing.disk import Tar, file_digest, whole_file, write_private
from distunlearn.prepare.writing.work import Prepare, Prepared
from distunlearn.shard_format import (
    ARRAY_SUFFIX,
    LABELS_SUFFIX,
    MISSING,
    SEGMENTATION_SUFFIX,
    Range,
    ShardEntry,
    Split,
    joined,
    shard_name,
)  # fmt: skip


@dataclass(frozen=True)
class ShardPlan:
    """Which samples go into one tar."""

    name: str
    split: Split
    samples: tuple[Sample, ...]
    refused: dict[str, Refusal]
    """Samples that are not to be written, by key."""
    segmented: bool
    """Whether the site's table has columns for segmentations."""
    digest: str
    """Of everything that its bytes depend on."""


@dataclass(frozen=True)
class ShardRecord:
    """What is known of a shard that was written."""

    entry: ShardEntry | None
    """None when every scan of it was refused."""
    rows: tuple[tuple[str, ...], ...]
    """Rows of the site's table."""
    dropped: tuple[Dropped, ...]
    classes: tuple[int, ...] = ()
    """Values that occur in its segmentations."""
    voxel_mm: tuple[Range, ...] = ()
    """Least and greatest size of a voxel of its files, along each axis."""


def plan_shards(
    site: str, samples: list[Sample], per_shard: int, *, done_to: dict[str, Any], refused: Mapping[str, Refusal]
) -> list[ShardPlan]:
    """Cut the samples of a site into shards, one split after the other, in the order of their keys."""
    plans = []
    segmented = any(sample.scan.segmentation for sample in samples)
    for split in sorted({sample.split for sample in samples}):
        members = [sample for sample in samples if sample.split == split]
        for number, start in enumerate(range(0, len(members), per_shard)):
            part = tuple(members[start : start + per_shard])
            name = shard_name(site, split, number)
            out = {sample.key: refused[sample.key] for sample in part if sample.key in refused}
            inputs = [name, done_to, segmented, sorted(out), [sample_digest(sample) for sample in part]]
            plans.append(ShardPlan(name, split, part, out, segmented, _digest(inputs)))
    return plans


def find_shard(plan: ShardPlan, folder: Path, records: Path) -> ShardRecord | None:
    """The record of a shard that was written before and whose bytes are still what they were."""
    try:
        values = json.loads(_note(plan, records).read_text())
        entry = ShardEntry.model_validate(values["entry"]) if values["entry"] else None
        samples = {sample.key: sample for sample in plan.samples}
        dropped = tuple(_dropped(samples[key], rule, reason) for key, rule, reason in values["dropped"])
        if entry and file_digest(folder / entry.name) != entry.xxh3:
            return None
        rows, voxels = tuple(map(tuple, values["rows"])), tuple(map(tuple, values["voxel_mm"]))
        return ShardRecord(entry, rows, dropped, tuple(values["classes"]), voxels)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_shard(plan: ShardPlan, folder: Path, records: Path, prepare: Prepare) -> ShardRecord:
    """Write one shard and then the record of it."""
    path = folder / plan.name
    path.unlink(missing_ok=True)
    rows: list[tuple[str, ...]] = []
    dropped: list[tuple[Sample, Prepared]] = []
    classes: set[int] = set()
    voxels: list[list[Range]] = []
    with whole_file(path) as stream, closing(Tar(stream)) as tar:
        for sample, prepared in _prepared(plan, prepare):
            if prepared.array is None:
                dropped.append((sample, prepared))
                continue
            rows.append(_add(tar, plan, sample, prepared))
            voxels.append([(size, size) for size in prepared.voxel_mm])
            classes.update([] if prepared.segmentation is None else np.unique(prepared.segmentation).tolist())
    entry = None
    if rows:
        size, digest = path.stat().st_size, file_digest(path)
        entry = ShardEntry(name=plan.name, split=plan.split, samples=len(rows), bytes=size, xxh3=digest)
    else:
        path.unlink()
    refusals = tuple(_dropped(sample, prepared.rule, prepared.reason) for sample, prepared in dropped)
    record = ShardRecord(entry, tuple(rows), refusals, tuple(sorted(classes)), joined(voxels))
    # Without the source's names: even the private records are no list of who was scanned.
    reasons = [[sample.key, prepared.rule, prepared.reason] for sample, prepared in dropped]
    written = {
        "entry": entry and entry.model_dump(), "rows": rows, "dropped": reasons,
        "classes": record.classes, "voxel_mm": record.voxel_mm,
    }  # fmt: skip
    write_private(_note(plan, records), json.dumps(written))
    return record


def sample_digest(sample: Sample) -> str:
    """Of everything that the bytes of a sample depend on; a file that was changed has another."""
    scan = sample.scan
    paths = [file for path in (scan.path, scan.segmentation) if path for file in dict.fromkeys(files_of(path))]
    files = [[str(path), _fingerprint(path)] for path in paths]
    return _digest([sample.key, sample.subject, sample.session, sample.split, sample.labels, files, scan.features])


def _prepared(plan: ShardPlan, prepare: Prepare) -> Iterator[tuple[Sample, Prepared]]:
    for sample, refusal in ((s, plan.refused[s.key]) for s in plan.samples if s.key in plan.refused):
        yield sample, Prepared(rule=refusal.rule, reason=refusal.reason)
    rest = [sample for sample in plan.samples if sample.key not in plan.refused]
    yield from zip(rest, prepare(sample.scan for sample in rest), strict=True)


def _add(tar: Tar, plan: ShardPlan, sample: Sample, prepared: Prepared) -> tuple[str, ...]:
    """Add one sample to the tar, its members in alphabetical order, and give its row of the table."""
    assert prepared.array is not None
    about = {"site": sample.scan.site, "subject": sample.subject, "session": sample.session, "split": sample.split,
             "scale": prepared.scale, **{name: _typed(cell) for name, cell in sample.labels.items()}}  # fmt: skip
    tar.add(f"{sample.key}.{LABELS_SUFFIX}", json.dumps(about).encode())
    drawn = (MISSING, MISSING)
    if prepared.segmentation is not None:
        start = tar.add_array(f"{sample.key}.{SEGMENTATION_SUFFIX}", prepared.segmentation)
        drawn = (str(start), xxhash.xxh3_128_hexdigest(prepared.segmentation.tobytes()))
    offset = tar.add_array(f"{sample.key}.{ARRAY_SUFFIX}", prepared.array)
    digest = xxhash.xxh3_128_hexdigest(prepared.array.tobytes())
    where = (plan.name, str(offset), str(prepared.array.nbytes), digest)
    figures = (repr(prepared.scale), f"{prepared.mean:.6g}", f"{prepared.sd:.6g}")
    who = (sample.key, sample.subject, str(sample.session), sample.split)
    return (*who, *where, *figures, *(drawn if plan.segmented else ()), *sample.labels.values())


def _typed(cell: str) -> float | str | None:
    if cell == MISSING:
        return None
    try:
        return float(cell)
    except ValueError:
        return cell


def _dropped(sample: Sample, rule: str, reason: str) -> Dropped:
    scan = sample.scan
    place = f"scan {sample.key}" + (f", {scan.place}" if scan.place else "")
    return Dropped(scan.site, rule, reason, place, str(scan.path or scan.subject))


def _fingerprint(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _note(plan: ShardPlan, records: Path) -> Path:
    return records / f"{plan.name}.{plan.digest}.json"


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]
