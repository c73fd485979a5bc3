"""Which sites a study has, and why one that was asked for is not there."""

from collections.abc import Sequence
from pathlib import Path

from fsspec.spec import AbstractFileSystem

from distunlearn.errors import UserError
from distunlearn.shard_format import MANIFEST


def site_names(
    files: AbstractFileSystem, folder: str, sites: Sequence[str] | None, hosted: Sequence[str] | None
) -> tuple[str, ...]:
    """The sites of a run, in the order of their domain index: those that were asked for, or all there are.

    Raises:
        UserError: there is none, or one is named twice or is hosted and not of the run.
    """
    if sites is None:
        found = _known_sites(files, folder)
        if not found:
            raise UserError(
                f"{folder}: no site there (no folder with a {MANIFEST}); give the folder that `distunlearn shard` wrote"
            )
        sites = found
    if doubled := sorted({name for name in sites if list(sites).count(name) > 1}):
        raise UserError(f"sites: {', '.join(doubled)} is given twice; name each site once")
    if unknown := [name for name in hosted or () if name not in sites]:
        raise UserError(f"placement: {', '.join(unknown)} is no site of this run (sites: {', '.join(sites)})")
    if not sites or (hosted is not None and not hosted):
        raise UserError("sites: none is given for this process; name at least one")
    return tuple(sites)


def _known_sites(files: AbstractFileSystem, folder: str) -> list[str]:
    try:
        entries = [str(entry).rstrip("/") for entry in files.ls(folder, detail=False)]
    except (OSError, NotImplementedError):
        raise UserError(
            f"{folder}: no such folder, or it cannot be listed; give the folder that `distunlearn shard` wrote, or name the sites"
        ) from None
    return sorted(Path(entry).name for entry in entries if files.isfile(f"{entry}/{MANIFEST}"))


def why_missing(files: AbstractFileSystem, folder: str, site: str, error: OSError) -> str:
    """The line that says why a site's manifest could not be read, and what to do."""
    if isinstance(error, PermissionError):
        return f"site {site}: its {MANIFEST} may not be read by this user; name in the placement only the sites that this rank may read"
    known = _known_sites(files, folder)
    if known and site not in known and not files.isdir(f"{folder}/{site}"):
        return f"site {site}: not in {folder} (known: {', '.join(known)}); correct the name"
    return f"site {site}: no {MANIFEST} in its folder, so its shards were never finished; run `distunlearn shard` for this site"
