"""What can be given as a source, and what is said of it: nothing is passed over in silence."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scans_on_disk import bids_site, nifti, run, save, scan_file, tree

from distunlearn.errors import UserError
from distunlearn.prepare import PrepareConfig, shard


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("absent", "is no folder"),
        ("empty", "no sub-"),
        ("notes.txt", "no column with the path"),
        ("scan.nii", "is no folder"),
    ],
)
def test_a_source_of_no_known_kind_is_refused_in_one_line(source: str, words: str, tmp_path: Path) -> None:
    """The line says what can be given instead."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("who,when\n")
    scan_file(tmp_path / "scan.nii", 0)
    with pytest.raises(UserError, match=words):
        run([tmp_path / source], tmp_path / "out")


def test_two_sources_of_one_name_never_become_one_site_in_silence(tmp_path: Path) -> None:
    """Neither in one command nor one after the other; a name, or taking the first away, says that it is meant."""
    for place, first in (("rome", 0), ("oslo", 20)):
        bids_site(tmp_path / place / "bids", 3, first=first)
    rome, oslo, out = tmp_path / "rome/bids", tmp_path / "oslo/bids", tmp_path / "out"
    with pytest.raises(UserError, match="site 'bids': 2 sources are called so"):
        run([rome, oslo], out)
    run([rome], out)
    before = tree(out)
    with pytest.raises(UserError, match="were made from another source; give this one another name with --site"):
        run([oslo], out)
    assert tree(out) == before
    run([oslo], out, {"site": "oslo"})
    shutil.rmtree(out / "bids")
    assert set(run([oslo], out).sites) == {"bids"}
    assert set(run([rome, oslo], tmp_path / "one", {"site": "both"}).sites) == {"both"}


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("siteA", {"features": ["*"]}, "--features means nothing"),
        ("siteA", {"match": {"ID": "{subject}"}}, "--match means nothing"),
        ("siteA", {"images": "sub-{subject}/ses-*/anat/*.nii.gz", "suffix": "T2w"}, "--suffix means nothing"),
        ("t.csv", {"segmentation": "dseg"}, "--column segmentation="),
        ("t.csv", {"features": ["thick"], "preprocessing": {"crop": "head"}}, "what is done to volumes means nothing"),
        ("siteA", {"segmentation": "dseg"}, "no scan has one"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    source: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """What a user asks for is done or refused, never passed over."""
    bids_site(tmp_path / "siteA", 2)
    save(tmp_path / "t.csv", b"id,age,thick\np1,30,2.5\n")
    with pytest.raises(UserError, match=words):
        shard([tmp_path / source], tmp_path / "out", PrepareConfig.read({"workers": 1, **options}, "test"))


def test_what_a_folder_lacks_is_told(tmp_path: Path) -> None:
    """Participants asked for that are not there, folders without an image, scans without a segmentation."""
    bids = bids_site(tmp_path / "siteA", 3)
    (bids / "sub-empty").mkdir()
    save(bids / "sub-01/ses-1/anat/sub-01_ses-1_dseg.nii", nifti(np.ones((12, 14, 10), np.uint8)))
    notes = run([bids], tmp_path / "out", {"segmentation": "dseg"}).notes
    assert "siteA: 1 sub-* folders hold no anat/*_T1w.nii[.gz]" in notes
    assert "siteA: 2 scans have no segmentation" in notes
    notes = run([bids], tmp_path / "two", {"participants": ["01", "1"]}).notes
    assert notes == ["1 of the 2 participants of --participant-label have no scan"]
