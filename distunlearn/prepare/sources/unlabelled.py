"""Scans that nothing is known of: files, folders and BIDS folders, in the order of their names, each once."""

import re
from collections.abc import Sequence
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.sources.bids import is_bids

NIFTI = ("*.nii", "*.nii.gz")


def find_unlabelled(sources: Sequence[Path], *, suffix: str = "T1w") -> list[Path]:
    """Find scans; no table of participants is needed or read.

    Args:
        sources: NIfTI files, which are taken as they are; BIDS folders or folders of them, of which the raw images of
            the suffix are taken and derivatives are not; other folders, of which every .nii and .nii.gz below is.
        suffix: BIDS suffix of the images.

    Raises:
        UserError: a source is not there, or a folder holds no scan.
    """
    scans: dict[Path, None] = {}
    for source in sources:
        scans |= dict.fromkeys(_below(source, suffix) if source.is_dir() else [source])
        if not source.is_dir() and not source.name.endswith((".nii", ".nii.gz")):
            raise UserError(f"{source}: no .nii or .nii.gz file, and no folder of them")
    return list(scans)


def _below(folder: Path, suffix: str) -> list[Path]:
    sites = [folder] if is_bids(folder) else sorted(child for child in folder.iterdir() if is_bids(child))
    if sites:
        pattern = re.compile(rf"sub-.*_{re.escape(suffix)}\.nii(\.gz)?")
        places = [path for site in sites for path in (*site.glob("sub-*/anat/*"), *site.glob("sub-*/ses-*/anat/*"))]
        found = sorted(path for path in places if pattern.fullmatch(path.name))
    else:
        found = sorted(path for kind in NIFTI for path in folder.rglob(kind))
    if not found:
        what = f"sub-*/[ses-*/]anat/*_{suffix}.nii[.gz]" if sites else ".nii or .nii.gz file"
        raise UserError(f"{folder}: no {what} in it; look at the folder, and at --suffix")
    return found
