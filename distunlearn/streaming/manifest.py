"""What there is to train on: the manifests and tables of the sites of a study, read and checked before any scan is."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from distunlearn.errors import UserError
from distunlearn.shard_format import MANIFEST, PLACE_COLUMNS, SEGMENTATION_COLUMNS, TABLE, Manifest, Range, ShardEntry
from distunlearn.streaming.access import Access
from distunlearn.streaming.sites import site_names, why_missing
from distunlearn.streaming.table import NOT_DRAWN, as_numbers, parse_table

PLAIN_NAME = re.compile(r"\w[\w. +-]*")

NO_LABELS = frozenset({*PLACE_COLUMNS, *SEGMENTATION_COLUMNS, "site", "domain"})
ALIKE = ("kind", "shape", "dtype", "preprocessing")
"""What all sites of a study must share: a scanner must not be told by how its scans were prepared."""


@dataclass(frozen=True, eq=False)
class Study:
    """The scans of all sites that this process may read."""

    root: str
    sites: tuple[str, ...]
    """The position of a site here is its domain index."""
    hosted: tuple[str, ...]
    """The sites whose scans are in `table`: all of them, or in federated placement those of this rank."""
    table: pd.DataFrame
    """One row a scan: `PLACE_COLUMNS`, `site`, `domain` and the labels (floats with NaN, or text with None)."""
    shards: dict[str, tuple[ShardEntry, ...]]
    """Of each hosted site."""
    kind: Literal["volume", "features"]
    shape: tuple[int, ...]
    """Of one scan: (W, H, D) or (F,)."""
    dtype: Literal["int16", "float32"]
    preprocessing: dict[str, Any]
    preprocessing_digest: str
    classes: tuple[int, ...]
    """Values of the segmentations of all hosted sites; none without segmentations."""
    access: Access
    """How the bytes of the shards are reached."""
    voxel_mm: dict[str, tuple[Range, ...]]
    """Of each hosted site: least and greatest voxel size of its training scans' files along each axis, where known."""
    simulated: bool = False
    """Whether any scan of the hosted sites was simulated."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that any hosted site has."""
        return tuple(column for column in self.table.columns if column not in NO_LABELS)

    def label(self, name: str) -> pd.Series:
        """A label of every scan.

        Raises:
            UserError: no scan has it.
        """
        if name not in self.labels:
            raise UserError(
                f"no scan has the label {name!r} (known: {', '.join(self.labels)}); correct its name in the configuration"
            )
        return self.table[name]


def read_study(
    root: Path | str,
    sites: Sequence[str] | None = None,
    *,
    hosted: Sequence[str] | None = None,
    access: Access | None = None,
) -> Study:
    """Read what `distunlearn shard` wrote, and refuse what does not belong together.

    Args:
        root: the folder that holds one folder a site, or a URL that fsspec knows (s3://…, https://…).
        sites: which sites, in the order of their domain index; by default all there are, sorted by name.
        hosted: the sites that this process may open, in federated placement; by default all of `sites`. No file of
            another site is touched.
        access: how the shards are read; with `access.stream` the root need only hold the manifests and tables.

    Raises:
        UserError: a folder, site, manifest, table or shard is missing, damaged, or prepared otherwise than the rest.
    """
    files, folder = url_to_fs(str(root))
    names = site_names(files, folder, sites, hosted)
    held = tuple(name for name in names if hosted is None or name in hosted)
    manifests = [_read_manifest(files, folder, name) for name in held]
    for manifest in manifests[1:]:
        _refuse_differences(manifests[0], manifest)
    access = access or Access()
    for manifest in manifests:
        _refuse_odd_names(manifest)
        if access.stream is None:
            _refuse_missing_shards(files, folder, manifest)
    tables = [_read_table(files, folder, manifest, names.index(manifest.site)) for manifest in manifests]
    first = manifests[0]
    return Study(
        root=str(root), sites=names, hosted=held, table=_one_table(tables), shards={m.site: m.shards for m in manifests},
        kind=first.kind, shape=first.shape, dtype=first.dtype,
        preprocessing=first.preprocessing, preprocessing_digest=first.preprocessing_digest, access=access,
        classes=tuple(sorted({value for m in manifests if m.segmentation for value in m.segmentation.classes})),
        simulated=any(m.simulated for m in manifests),
        voxel_mm={m.site: m.voxel_mm for m in manifests},
    )  # fmt: skip


def _read_manifest(files: AbstractFileSystem, folder: str, site: str) -> Manifest:
    path = f"{folder}/{site}/{MANIFEST}"
    try:
        values = json.loads(files.cat_file(path))
    except OSError as error:
        raise UserError(why_missing(files, folder, site, error)) from None
    except ValueError as error:
        raise UserError(
            f"site {site}: {MANIFEST} is no JSON ({error}); run `distunlearn shard` for this site again"
        ) from None
    manifest = Manifest.read(values, f"site {site}: {MANIFEST}")
    if manifest.site != site:
        raise UserError(
            f"site {site}: its {MANIFEST} is that of site {manifest.site}; put each site's files back into the folder of its name"
        )
    return manifest


def _refuse_differences(first: Manifest, other: Manifest) -> None:
    one, two = first.model_dump(include=set(ALIKE)), other.model_dump(include=set(ALIKE))
    differing = [name for name in ("kind", "shape", "dtype") if one[name] != two[name]]
    steps = sorted(one["preprocessing"].keys() | two["preprocessing"].keys())
    absent = object()
    differing += [
        f"preprocessing.{name}"
        for name in steps
        if one["preprocessing"].get(name, absent) != two["preprocessing"].get(name, absent)
    ]
    if not differing and first.preprocessing_digest != other.preprocessing_digest:
        differing = ["preprocessing_digest"]
    if differing:
        raise UserError(
            f"sites {first.site} and {other.site} were prepared differently ({', '.join(differing)}); prepare both alike, or the scanner is told by it"
        )


def _refuse_odd_names(manifest: Manifest) -> None:
    """A shard's name becomes part of paths, addresses and commands."""
    for shard in manifest.shards:
        if not PLAIN_NAME.fullmatch(shard.name):
            raise UserError(
                f"site {manifest.site}: shard {shard.name!r} is no plain file name; run `distunlearn shard` for this site again"
            )


def _refuse_missing_shards(files: AbstractFileSystem, folder: str, manifest: Manifest) -> None:
    for shard in manifest.shards:
        path = f"{folder}/{manifest.site}/{shard.name}"
        try:
            size = files.size(path)
        except FileNotFoundError:
            raise UserError(
                f"site {manifest.site}: shard {shard.name} is missing; copy it again, or run `distunlearn shard` for this site"
            ) from None
        if size is not None and size != shard.bytes:
            raise UserError(
                f"site {manifest.site}: shard {shard.name} has {size} bytes, not {shard.bytes}; copy it again, or run `distunlearn shard` for this site"
            )


def _read_table(files: AbstractFileSystem, folder: str, manifest: Manifest, domain: int) -> pd.DataFrame:
    try:
        text = files.cat_file(f"{folder}/{manifest.site}/{TABLE}")
    except OSError:
        raise UserError(
            f"site {manifest.site}: {TABLE} cannot be read; copy it again, or run `distunlearn shard` for this site"
        ) from None
    table = parse_table(manifest, text)
    table.insert(len(PLACE_COLUMNS), "site", manifest.site)
    table.insert(len(PLACE_COLUMNS) + 1, "domain", domain)
    return table


def _one_table(tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat(tables, ignore_index=True)
    repeated = table["key"].duplicated(keep=False)
    if repeated.any():
        sites = sorted(set(table["site"][repeated]))
        raise UserError(
            f"sites {' and '.join(sites)}: scan {table['key'][repeated].iloc[0]} is in both; prepare one of them with another site secret"
        )
    labels = [name for name in table.columns if name not in NO_LABELS]
    if "segmentation_offset" in table:
        table["segmentation_offset"] = table["segmentation_offset"].fillna(NOT_DRAWN).astype("int64")
    return table.assign(**{
        label: as_numbers(table[label].astype(object).where(table[label].notna(), None)) for label in labels
    })
