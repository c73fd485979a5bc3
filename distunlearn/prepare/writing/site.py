"""One site's folder: its shards, then its table, then, last of all, its manifest."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distunlearn.prepare.assign import Sample
from distunlearn.prepare.origin import is_simulated
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.writing.disk import file_digest, whole_file
from distunlearn.prepare.writing.shards import ShardRecord, find_shard, plan_shards, write_shard
from distunlearn.prepare.writing.work import Prepare
from distunlearn.progress import Advance
from distunlearn.shard_format import (
    MANIFEST,
    TABLE,
    Counts,
    Manifest,
    Range,
    Segmentation,
    joined,
    preprocessing_digest,
)


@dataclass
class SiteJob:
    """What is to be written for one site."""

    site: str
    samples: list[Sample]
    folder: Path
    private: Path
    """Where the records of finished shards are kept."""
    kind: Literal["volume", "features"]
    shape: tuple[int, ...]
    preprocessing: dict[str, Any]
    labels: tuple[str, ...]
    per_shard: int
    orientation_from: str
    records: list[ShardRecord] = field(default_factory=list)


def write_site(job: SiteJob, prepare: Prepare, advance: Advance, *, refused: Mapping[str, Refusal]) -> None:
    """Write the shards of a site that are not there yet, and sweep away what does not belong to them."""
    job.folder.mkdir(parents=True, exist_ok=True)
    job.private.mkdir(mode=0o700, parents=True, exist_ok=True)
    done_to = {"how": job.preprocessing, "affine": job.orientation_from}
    plans = plan_shards(job.site, job.samples, job.per_shard, done_to=done_to, refused=refused)
    known = [find_shard(plan, job.folder, job.private) for plan in plans]
    if None in known:
        (job.folder / MANIFEST).unlink(missing_ok=True)  # nobody may take half of the new shards for the old ones
    job.records = []
    for plan, record in zip(plans, known, strict=True):
        if record:
            advance(len(plan.samples))
        job.records.append(record or write_shard(plan, job.folder, job.private, prepare))
    names = {record.entry.name for record in job.records if record.entry}
    for path in [*job.folder.glob("*.tar"), *job.folder.glob(".*.part")]:
        if path.name not in names:
            path.unlink()


def finish_site(job: SiteJob, refused_before: Mapping[str, int]) -> Counts:
    """Write the table and the manifest of a site whose shards are complete.

    Args:
        job: with its records.
        refused_before: scans refused by what their source says of them, by rule.
    """
    rows = [row for record in job.records for row in record.rows]
    refused = Counter(refused_before) + Counter(drop.rule for record in job.records for drop in record.dropped)
    counts = Counts(found=len(rows) + refused.total(), written=len(rows), refused=dict(sorted(refused.items())))
    manifest = Manifest(
        site=job.site, kind=job.kind, shape=job.shape, dtype="int16" if job.kind == "volume" else "float32",
        preprocessing=job.preprocessing, preprocessing_digest=preprocessing_digest(job.preprocessing),
        shards=tuple(record.entry for record in job.records if record.entry),
        table_xxh3="", labels=job.labels, counts=counts, segmentation=_segmentation(job),
        simulated=_simulated(job), voxel_mm=_voxel_sizes(job),
    )  # fmt: skip
    table = "".join("\t".join(row) + "\n" for row in [manifest.columns, *rows])
    _write_if_new(job.folder / TABLE, table.encode())
    manifest = manifest.model_copy(update={"table_xxh3": file_digest(job.folder / TABLE)})
    _write_if_new(job.folder / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())
    return counts


def _segmentation(job: SiteJob) -> Segmentation | None:
    if not any(sample.scan.segmentation for sample in job.samples):
        return None
    drawn = {sample.key for sample in job.samples if sample.scan.segmentation}
    scans = sum(row[0] in drawn for record in job.records for row in record.rows)
    return Segmentation(classes=tuple(sorted({c for record in job.records for c in record.classes})), scans=scans)


def _simulated(job: SiteJob) -> bool:
    return any(is_simulated(folder) for folder in {s.scan.path.absolute().parent for s in job.samples if s.scan.path})


def _voxel_sizes(job: SiteJob) -> tuple[Range, ...]:
    return joined(record.voxel_mm for record in job.records if record.entry and record.entry.split == "train")


def _write_if_new(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    with whole_file(path) as stream:
        stream.write(content)
