"""What preparation writes and streaming reads: the names, the table and the manifest of a site's shards.

    OUT/SITE/SITE-train-000000.tar   plain WebDataset: KEY.volume.npy and KEY.json of every scan, nothing else
                                     (KEY.segmentation.npy too, where scans have one)
    OUT/SITE/table.tsv               one row a scan, in shard order: where it lies, its digest, its labels
    OUT/SITE/manifest.json           what the site is: shape, preprocessing, shards, counts

The volume is stored as int16 and one scale a scan, `z = scale * stored`: ten times more exact than half precision at
the same size. Features (1-D tables) are stored as float32 with scale 1. `offset` points at the first value inside the
tar, past the tar header and past the npy header, so that one `preadv` of `bytes` bytes reads a scan.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from distunlearn.strict import Strict

MANIFEST = "manifest.json"
TABLE = "table.tsv"
ARRAY_SUFFIX = "volume.npy"
LABELS_SUFFIX = "json"
SEGMENTATION_SUFFIX = "segmentation.npy"
MISSING = "n/a"
"""How a missing label is written, as in BIDS."""

Split = Literal["train", "val", "test", "travelling"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "travelling")
"""`travelling`: people who were scanned at several sites; never trained on, used as a truth about scanners."""

PLACE_COLUMNS = ("key", "subject", "session", "split", "shard", "offset", "bytes", "xxh3", "scale", "mean", "sd")
"""The table's first columns, in this order. Every further column is a label (age, sex, …).

key      pseudonym of the scan, unique over all sites, without dots
subject  pseudonym of the person: the same in all sessions of a site
session  0, 1, … in the order of the sessions' names
shard    file name of the tar, in the site's folder
offset   byte of the first stored value in that tar;  bytes  length of the stored values
xxh3     xxh3_128 hex digest of those bytes
scale    stored value to normalised value;  mean, sd  intensity before normalisation (source units)
"""

SEGMENTATION_COLUMNS = ("segmentation_offset", "segmentation_xxh3")
"""The columns behind those, only where `Manifest.segmentation` is given; both `n/a` for a scan without one.

segmentation_offset  byte of the first voxel, uint8, as many as the volume has;  segmentation_xxh3  digest of them
"""


class ShardEntry(Strict):
    """One tar of a site."""

    name: str
    split: Split
    samples: int
    bytes: int
    xxh3: str
    """xxh3_128 hex digest of the whole file."""


class Counts(Strict):
    """What was found and what became of it: `found == written + sum(refused.values())`."""

    found: int
    written: int
    refused: dict[str, int] = Field(default_factory=dict)
    """Scans refused, by rule."""


class Segmentation(Strict):
    """The segmentations (or masks) of a site's scans: uint8, on the grid of the volumes."""

    classes: tuple[int, ...]
    """The values that occur."""
    scans: int
    """How many scans have one."""


Range = tuple[float, float]
"""Least and greatest."""


def joined(parts: Iterable[Sequence[Range]]) -> tuple[Range, ...]:
    """The ranges of all parts together, one for each axis."""
    return tuple((min(low for low, _ in axis), max(high for _, high in axis)) for axis in zip(*parts, strict=True))


class Manifest(Strict):
    """One site's shards; `Manifest.read` refuses another schema by name."""

    schema_version: Literal[1] = 1
    site: str
    kind: Literal["volume", "features"]
    shape: tuple[int, ...]
    """Of one scan: (W, H, D) voxels, or (F,) features."""
    dtype: Literal["int16", "float32"]
    preprocessing: dict[str, Any]
    """Everything that was done to a scan between its file and the shard; a model refuses scans prepared otherwise."""
    preprocessing_digest: str
    shards: tuple[ShardEntry, ...]
    table_xxh3: str
    labels: tuple[str, ...]
    """Names of the label columns of the table."""
    counts: Counts
    segmentation: Segmentation | None = None
    simulated: bool = False
    """Whether any scan is of nobody, by the description of its data set; reports then say so."""
    voxel_mm: tuple[Range, ...] = ()
    """Least and greatest size of a voxel of the files of split train, along each axis of the volume; none of features.
    A trained model warns of a new scan that lies outside."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The header of the table."""
        return (*PLACE_COLUMNS, *(SEGMENTATION_COLUMNS if self.segmentation else ()), *self.labels)


def preprocessing_digest(preprocessing: dict[str, Any]) -> str:
    """Sixteen hex digits that two preparations share exactly when they do the same to a scan."""
    canonical = json.dumps(preprocessing, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def shard_name(site: str, split: Split, number: int) -> str:
    """The file name of a shard; the site is in it because caches keep only base names (webdataset #471)."""
    return f"{site}-{split}-{number:06d}.tar"
