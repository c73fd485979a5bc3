"""What is predicted from when files, folders and BIDS folders are named."""

from pathlib import Path

import pytest

from distunlearn.errors import UserError
from distunlearn.prepare.sources.unlabelled import find_unlabelled


def touch(*paths: Path) -> None:
    """Empty files."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_bids_gives_raw_images_only(tmp_path: Path) -> None:
    """Sessions or not, several sites below one folder; no mask, no other suffix, no derivative."""
    wanted = [
        tmp_path / "one/sub-1/anat/sub-1_T1w.nii.gz",
        tmp_path / "one/sub-2/ses-a/anat/sub-2_ses-a_run-1_T1w.nii",
        tmp_path / "two/sub-1/anat/sub-1_T1w.nii.gz",
    ]
    touch(*wanted)
    touch(
        tmp_path / "one/sub-1/anat/sub-1_T2w.nii.gz",
        tmp_path / "one/sub-1/anat/sub-1_T1w.json",
        tmp_path / "one/derivatives/sub-1/anat/sub-1_T1w.nii.gz",
        tmp_path / "one/sub-1/anat/sub-1_mask.nii.gz",
    )
    assert find_unlabelled([tmp_path]) == wanted
    assert find_unlabelled([tmp_path / "two"]) == wanted[2:]
    assert [path.name for path in find_unlabelled([tmp_path], suffix="T2w")] == ["sub-1_T2w.nii.gz"]


def test_folders_and_files_each_once(tmp_path: Path) -> None:
    """A plain folder gives every NIfTI file below it; a file that is named too comes once."""
    touch(tmp_path / "b.nii", tmp_path / "deep/a.nii.gz", tmp_path / "notes.txt")
    assert find_unlabelled([tmp_path / "b.nii", tmp_path]) == [tmp_path / "b.nii", tmp_path / "deep/a.nii.gz"]


def test_nothing_to_predict_is_an_error(tmp_path: Path) -> None:
    """A folder without scans, and a file that is no scan, are named."""
    with pytest.raises(UserError, match=r"no \.nii"):
        find_unlabelled([tmp_path])
    touch(tmp_path / "scans.csv")
    with pytest.raises(UserError, match=r"scans\.csv"):
        find_unlabelled([tmp_path / "scans.csv"])
