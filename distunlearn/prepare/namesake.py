"""Another source of the same name must not replace a site's shards in silence: what they were made from is remembered."""

from collections.abc import Iterable
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.pseudonym import pseudonym
from distunlearn.prepare.writing.disk import write_private
from distunlearn.shard_format import MANIFEST

ORIGIN = "origin"


def check_origin(folder: Path, private: Path, origins: Iterable[Path], secret: bytes) -> None:
    """Remember what a site is made from, by pseudonyms of the paths, as given and in full.

    Args:
        folder: the site's shards.
        private: where the site's records are kept.
        origins: its BIDS folders or tables.
        secret: of the site.

    Raises:
        UserError: there are shards of this site that were made from something else.
    """
    ways = {str(way) for origin in origins for way in (origin, origin.resolve())}
    now = sorted(pseudonym(secret, ORIGIN, way) for way in ways)
    path = private / ORIGIN
    before = path.read_text().split() if path.exists() and (folder / MANIFEST).exists() else now
    if not set(before) & set(now):
        raise UserError(
            f"site {folder.name!r}: its shards were made from another source; give this one another name with --site, or "
            f"take the folder {folder.name} away if it is to be replaced"
        )
    if not path.exists() or path.read_text().split() != now:
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, "\n".join(now) + "\n")
