"""What a source is: a BIDS folder, a folder of them, images with names of their own, or a table; and all that is in it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.sources.bids import bids_sites, find_bids
from distunlearn.prepare.sources.listing import find_listed
from distunlearn.prepare.sources.pattern import find_files
from distunlearn.prepare.sources.scans import Found

MEANINGLESS: dict[str, tuple[str, ...]] = {
    "a BIDS folder": ("table", "match", "features"),
    "a folder with --images": ("suffix", "features"),
    "a table": ("images", "table", "match", "suffix", "runs", "segmentation"),
    "a table of features": ("images", "table", "match", "suffix", "runs", "segmentation", "preprocessing"),
}
"""Options that say nothing of a kind of source; given all the same, they would be passed over in silence."""
CALLED = {
    "preprocessing": "what is done to volumes",
    "segmentation": "--segmentation (name it: --column segmentation=…)",
}


def find(sources: Sequence[Path], config: PrepareConfig) -> Found:
    """Find every scan of every source.

    Raises:
        UserError: a source is missing, of no known kind, its table is unusable, an option means nothing for it, or two
            sources would become one site.
    """
    found = Found()
    for source in sources:
        found.add(_find_one(source, config))
    _check_namesakes(found, config)
    found.notes += [*_absent(found, config), *_without_segmentation(found, config)]
    return found


def _find_one(source: Path, config: PrepareConfig) -> Found:
    if source.is_dir() and config.images:
        _check_options("a folder with --images", source, config)
        return find_files(source, config.images, config).come_from(source)
    if source.is_dir():
        return _find_bids_sites(source, config)
    if source.suffix.lower() in (".csv", ".tsv", ".txt"):
        _check_options("a table of features" if config.features else "a table", source, config)
        return find_listed(source, config).come_from(source)
    raise UserError(
        f"{source}: is no folder, and no .csv or .tsv table; give a BIDS folder or a table with a path column"
    )


def _find_bids_sites(source: Path, config: PrepareConfig) -> Found:
    folders = bids_sites(source)
    _check_options("a BIDS folder", source, config)
    if config.site and len(folders) > 1:
        raise UserError(f"{source}: holds {len(folders)} sites, so --site cannot name it; leave it out")
    found = Found()
    for folder in folders:
        found.add(find_bids(folder, config, site=config.site or folder.resolve().name).come_from(folder))
    return found


def _check_options(kind: str, source: Path, config: PrepareConfig) -> None:
    usual = PrepareConfig()
    for name in MEANINGLESS[kind]:
        if getattr(config, name) != getattr(usual, name):
            raise UserError(
                f"{source}: is {kind}, for which {CALLED.get(name, f'--{name}')} means nothing; leave it out"
            )


def _check_namesakes(found: Found, config: PrepareConfig) -> None:
    """Refuse two sources that would become one site for no other reason than that they are called alike."""
    for site, origins in found.origins.items():
        called = {origin.resolve().name if origin.is_dir() else origin.stem for origin in origins}
        if config.site is None and len(origins) > 1 and called == {site}:
            raise UserError(
                f"site {site!r}: {len(origins)} sources are called so and would become one; shard them one by one, and "
                "name each with --site"
            )


def _absent(found: Found, config: PrepareConfig) -> list[str]:
    wanted = {name.removeprefix("sub-") for name in config.participants}
    absent = len(wanted - found.people)
    return [f"{absent} of the {len(wanted)} participants of --participant-label have no scan"] if absent else []


def _without_segmentation(found: Found, config: PrepareConfig) -> list[str]:
    without = Counter(scan.site for scan in found.scans if not scan.segmentation)
    if without.total() < len(found.scans):
        return [f"{site}: {n} scans have no segmentation" for site, n in sorted(without.items())]
    if config.segmentation and not any(drop.rule == "segmentation" for drop in found.dropped):
        raise UserError(f"--segmentation {config.segmentation}: no scan has one; look at where they lie and are called")
    return []
