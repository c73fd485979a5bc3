"""Identical voxels under two names: harmless within a split, a leak across splits, so refused there."""

import json
from collections import defaultdict
from pathlib import Path

from filelock import FileLock

from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.writing.disk import write_private
from distunlearn.prepare.writing.shards import sample_digest
from distunlearn.prepare.writing.site import SiteJob
from distunlearn.shard_format import PLACE_COLUMNS

DOUBLE = Refusal(
    "duplicate",
    "has voxel by voxel the same content as another subject's scan in another split; find out whose it is, and take "
    "the other away",
)
XXH3 = PLACE_COLUMNS.index("xxh3")


class Doubles:
    """Scans that are refused as duplicates, remembered between runs, because their voxels are in no shard."""

    def __init__(self, path: Path, jobs: list[SiteJob]) -> None:
        self.path, self.jobs = path, jobs
        self.samples = {sample.key: sample for job in jobs for sample in job.samples}
        self.digests = {key: digest for key, (digest, inputs) in _read(path).items()
                        if key in self.samples and sample_digest(self.samples[key]) == inputs}  # fmt: skip

    @property
    def refused(self) -> dict[str, Refusal]:
        """The refusal of every one of them, by key."""
        return dict.fromkeys(self.digests, DOUBLE)

    def update(self) -> bool:
        """Look through what is written; whether other scans are refused now than before."""
        digests = {row[0]: row[XXH3] for job in self.jobs for record in job.records for row in record.rows}
        groups: dict[str, list[str]] = defaultdict(list)
        for key, digest in {**self.digests, **digests}.items():
            groups[digest].append(key)
        found = {key: digest for digest, keys in groups.items() for key in keys if len(self._splits(keys)) > 1}
        changed = found.keys() != self.digests.keys()
        self.digests = found
        if changed:
            mine = {key: (digest, sample_digest(self.samples[key])) for key, digest in found.items()}
            with FileLock(self.path.with_suffix(".lock")):  # other processes write other sites' scans into it
                others = {key: value for key, value in _read(self.path).items() if key not in self.samples}
                write_private(self.path, json.dumps(others | mine))
        return changed

    def _splits(self, keys: list[str]) -> set[str]:
        return {self.samples[key].split for key in keys}


def _read(path: Path) -> dict[str, tuple[str, str]]:
    try:
        return {key: (digest, inputs) for key, (digest, inputs) in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
