"""What a source is: a BIDS folder, a folder of them, or a table; and everything that is in it."""

from collections.abc import Sequence
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.sources.bids import bids_sites, find_bids
from distunlearn.prepare.sources.listing import find_listed
from distunlearn.prepare.sources.pattern import find_files
from distunlearn.prepare.sources.scans import Found


def find(sources: Sequence[Path], config: PrepareConfig) -> Found:
    """Find every scan of every source.

    Raises:
        UserError: a source is missing, of no known kind, or its table is unusable.
    """
    found = Found()
    for source in sources:
        found.add(_find_one(source, config))
    return found


def _find_one(source: Path, config: PrepareConfig) -> Found:
    if source.is_dir() and config.images:
        return find_files(source, config.images, config)
    if source.is_dir():
        folders = bids_sites(source)
        if config.site and len(folders) > 1:
            raise UserError(f"{source}: holds {len(folders)} sites, so --site cannot name it; leave it out")
        found = Found()
        for folder in folders:
            found.add(find_bids(folder, config, site=config.site or folder.resolve().name))
        return found
    if source.suffix.lower() in (".csv", ".tsv", ".txt"):
        return find_listed(source, config)
    raise UserError(
        f"{source}: is no folder, and no .csv or .tsv table; give a BIDS folder or a table with a path column"
    )
