"""`distunlearn verify`: is every byte of a folder of shards still what was written, and who is where only once?"""

import json
import tarfile
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from distunlearn.errors import UserError
from distunlearn.prepare.writing.disk import file_digest
from distunlearn.progress import Advance, progress
from distunlearn.shard_format import MANIFEST, MISSING, TABLE, Manifest, ShardEntry

Row = dict[str, str]
Placed = tuple[str, Row]
"""A site and a row of its table."""


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong."""

    site: str
    what: str
    """The shard, table or manifest at fault, and the scan where one can be named."""
    problem: str
    """What is wrong with it, and the remedy."""


def verify(root: Path) -> tuple[int, list[Damage]]:
    """Read every byte below a folder of shards.

    Args:
        root: what `distunlearn shard` wrote.

    Returns:
        How many scans were looked at, and what is wrong.

    Raises:
        UserError: there is no site.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not any((folder / MANIFEST).exists() for folder in folders):
        raise UserError(
            f"{root}: no site there (no folder with a {MANIFEST}); give the folder that `distunlearn shard` wrote"
        )
    damages: list[Damage] = []
    rows: dict[str, list[Row]] = {}
    total = sum(1 for folder in folders for _ in folder.glob("*.tar"))
    with progress("verify", total, "shards") as advance:
        for folder in folders:
            rows[folder.name] = _verify_site(folder, damages, advance)
    damages += _across(rows)
    return sum(map(len, rows.values())), damages


def _verify_site(folder: Path, damages: list[Damage], advance: Advance) -> list[Row]:
    site = folder.name
    try:
        manifest = Manifest.read(json.loads((folder / MANIFEST).read_text()), MANIFEST)
    except (OSError, ValueError, UserError) as error:
        reason = (
            "is missing, so its shards were never finished" if isinstance(error, OSError) else f"is unusable ({error})"
        )
        damages.append(Damage(site, MANIFEST, f"{reason}; run `distunlearn shard` for this site again"))
        return []
    if manifest.site != site:
        damages.append(Damage(site, MANIFEST, f"is that of site {manifest.site}; put it back into its own folder"))
    rows = _read_table(folder, manifest, damages)
    for entry in manifest.shards:
        damages += _verify_shard(folder, entry, manifest, [row for row in rows if row["shard"] == entry.name])
        advance()
    known = {entry.name for entry in manifest.shards}
    damages += [Damage(site, path.name, "is not in the manifest; take it away")
                for path in sorted(folder.glob("*.tar")) if path.name not in known]  # fmt: skip
    return rows


def _read_table(folder: Path, manifest: Manifest, damages: list[Damage]) -> list[Row]:
    path = folder / TABLE
    if not path.exists() or file_digest(path) != manifest.table_xxh3:
        damages.append(Damage(folder.name, TABLE, "is missing or was changed; run `distunlearn shard` again"))
        return []
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def _verify_shard(folder: Path, entry: ShardEntry, manifest: Manifest, rows: list[Row]) -> list[Damage]:
    path = folder / entry.name
    if not path.exists():
        return [Damage(folder.name, entry.name, "is missing; copy it again, or run `distunlearn shard` again")]
    if file_digest(path) == entry.xxh3:
        return [] if len(rows) == entry.samples and _members(path) == _expected(rows, manifest) else [
            Damage(folder.name, entry.name, "does not hold the scans that the table says; run `distunlearn shard` again")
        ]  # fmt: skip
    scans = [row["key"] for row in rows if not _is_whole(path, row, manifest)]
    if not scans:
        return [Damage(folder.name, entry.name, "was changed, but in no scan; copy it again")]
    return [Damage(folder.name, f"{entry.name}, scan {key}", "is damaged; copy the shard again") for key in scans]


def _members(path: Path) -> set[str]:
    try:
        with tarfile.open(path, "r:") as tar:
            return set(tar.getnames())
    except tarfile.TarError:
        return set()


def _expected(rows: list[Row], manifest: Manifest) -> set[str]:
    names = {f"{row['key']}.{suffix}" for row in rows for suffix in ("json", "volume.npy")}
    drawn = [row for row in rows if manifest.segmentation and row["segmentation_offset"] != MISSING]
    return names | {f"{row['key']}.segmentation.npy" for row in drawn}


def _is_whole(path: Path, row: Row, manifest: Manifest) -> bool:
    places = [(int(row["offset"]), int(row["bytes"]), row["xxh3"])]
    if manifest.segmentation and row["segmentation_offset"] != MISSING:
        voxels = manifest.shape[0] * manifest.shape[1] * manifest.shape[2]
        places.append((int(row["segmentation_offset"]), voxels, row["segmentation_xxh3"]))
    with path.open("rb") as stream:
        for offset, length, digest in places:
            stream.seek(offset)
            if xxhash.xxh3_128_hexdigest(stream.read(length)) != digest:
                return False
    return True


def _across(rows: dict[str, list[Row]]) -> list[Damage]:
    """What only shows when all sites are looked at together: keys, people and voxels that are there twice."""
    everything = [(site, row) for site, own in rows.items() for row in own]
    damages = []
    for key, same in _grouped(everything, lambda site, row: row["key"]).items():
        if len(same) > 1:
            problem = "is there more than once; shard one of them with its own secret"
            damages.append(Damage(_sites(same), f"scan {key}", problem))
    for (_, person), same in _grouped(everything, _person).items():
        if len(splits := _splits(same)) > 1:
            problem = f"is in {' and '.join(splits)}; give this person one split and shard again"
            damages.append(Damage(_sites(same), f"person {person}", problem))
    for same in _grouped(everything, lambda site, row: row["xxh3"]).values():
        if len(splits := _splits(same)) > 1:
            names = " and ".join(f"scan {row['key']}" for _, row in same)
            problem = f"are voxel by voxel the same and in {' and '.join(splits)}; shard these sites together"
            damages.append(Damage(_sites(same), names, problem))
    return damages


def _person(site: str, row: Row) -> tuple[str, str]:
    """Who a scan is of: a traveller is the same person at every site."""
    traveller = row.get("traveller", MISSING)
    return (site, row["subject"]) if traveller == MISSING else ("", traveller)


def _grouped(rows: list[Placed], by: Callable[[str, Row], Hashable]) -> dict[Any, list[Placed]]:
    groups: dict[Any, list[Placed]] = defaultdict(list)
    for site, row in rows:
        groups[by(site, row)].append((site, row))
    return groups


def _splits(same: list[Placed]) -> list[str]:
    return sorted({row["split"] for _, row in same})


def _sites(same: list[Placed]) -> str:
    return " and ".join(sorted({site for site, _ in same}))
