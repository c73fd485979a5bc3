"""BIDS folders: one site, several site folders, or one folder whose participants name their site."""

import re
from collections import defaultdict
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.sources.participants import Participants
from distunlearn.prepare.sources.scans import Found, Scan, is_wanted


def is_bids(folder: Path) -> bool:
    """Whether a folder holds participants."""
    return folder.is_dir() and any(child.is_dir() for child in folder.glob("sub-*"))


def bids_sites(source: Path) -> list[Path]:
    """The BIDS folders that a source is made of: itself, or one a site in it.

    Raises:
        UserError: there is none.
    """
    if is_bids(source):
        return [source]
    sites = sorted(child for child in source.iterdir() if is_bids(child))
    if not sites:
        raise UserError(
            f"{source}: no sub-* folders in it or one level below, so it is no BIDS folder; give one, a table with a "
            "path column, or say with --images where the images are"
        )
    return sites


def find_bids(folder: Path, config: PrepareConfig, *, site: str) -> Found:
    """Find the scans of one BIDS folder and what its tables say of them.

    A scan without a row is refused when there is a participants.tsv, and unlabelled when there is none.

    Raises:
        UserError: a table's structure is unusable.
    """
    found = Found()
    people = Participants(folder, config)
    files = _images(folder, config, found, site)
    for (subject, session), paths in sorted(files.items()):
        for path in paths:
            try:
                drawn = _segmentation(folder, path, config) if config.segmentation else None
                found.scans.append(people.describe(Scan(site, subject, session, path, "", {}, segmentation=drawn)))
            except Refusal as refusal:
                found.refuse(site, refusal, people.place(subject), str(path))
    found.people = {subject for subject, _ in files}
    found.notes += people.notes(site, with_scan=found.people)
    bare = {child.name.removeprefix("sub-") for child in folder.glob("sub-*") if child.is_dir()} - found.people
    if bare and not config.participants:
        found.notes.append(f"{site}: {len(bare)} sub-* folders hold no anat/*_{config.suffix}.nii[.gz]")
    return found


def _images(folder: Path, config: PrepareConfig, found: Found, site: str) -> dict[tuple[str, str], list[Path]]:
    """Images a subject and session, in the order of their names."""
    pattern = re.compile(rf"sub-([^_/]+)(?:_ses-([^_/]+))?_(?:.*_)?{re.escape(config.suffix)}\.nii(?:\.gz)?")
    files: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted([*folder.glob("sub-*/anat/*"), *folder.glob("sub-*/ses-*/anat/*")]):
        match = pattern.fullmatch(path.name)
        if not match:
            continue
        subject, session = match[1], match[2] or ""
        parts = [f"sub-{subject}", *([f"ses-{session}"] if session else []), "anat", path.name]
        if list(path.relative_to(folder).parts) != parts:
            found.refuse(site, Refusal("misplaced", "is named unlike the folder it lies in; move it"), "", str(path))
        elif not is_wanted(subject, config):
            found.left_out += 1
        else:
            files[subject, session].append(path)
    if config.runs == "first":
        found.left_out += sum(len(paths) - 1 for paths in files.values())
        return {who: paths[:1] for who, paths in files.items()}
    return files


def _segmentation(folder: Path, image: Path, config: PrepareConfig) -> Path | None:
    """The segmentation of an image: its name with further entities, beside it or at the same place of a derivative."""
    stem = image.name.removesuffix(".gz").removesuffix(".nii").removesuffix(f"_{config.suffix}")
    pattern = re.compile(rf"{re.escape(stem)}_(?:(?:space|desc|label|res)-[^_]+_)*{config.segmentation}\.nii(?:\.gz)?")
    below = image.parent.relative_to(folder)
    places = [image.parent, *folder.glob(f"derivatives/*/{below}"), *folder.glob(f"derivatives/{below}")]
    drawn = sorted(path for place in places for path in place.glob(f"{stem}_*") if pattern.fullmatch(path.name))
    if len(drawn) > 1:
        raise Refusal("segmentation", "has more than one segmentation; leave one derivative in the folder")
    return drawn[0] if drawn else None
