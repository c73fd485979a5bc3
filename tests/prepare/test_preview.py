"""`--dry-run`: what would be kept and dropped and why, from tables and headers, with nothing written."""

from pathlib import Path

import numpy as np
from scans_on_disk import bids_site, nifti, save
from typer.testing import CliRunner

from distunlearn.cli import app


def dry_run(*arguments: str) -> str:
    """What the command prints."""
    result = CliRunner().invoke(app, ["shard", *arguments, "--dry-run"])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_dry_run_counts_what_would_be_kept_and_dropped_and_writes_nothing(tmp_path: Path) -> None:
    """Sites, scans, people, splits and labels; a damaged header is found without reading any voxel."""
    bids = bids_site(tmp_path / "siteA")
    save(bids / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", b"damaged")
    told = dry_run(str(bids), str(tmp_path / "out"))
    header, row = told.splitlines()[:2]
    cells = dict(zip(header.split(), row.split(), strict=False))
    assert (cells["site"], cells["keep"], cells["drop"], cells["subjects"], cells["age"]) == (
        "siteA",
        "8",
        "1",
        "7",
        "20–27",
    )
    assert sum(int(cells.get(split, 0)) for split in ("train", "val", "test")) == 8
    assert "participants.tsv line 4: is no NIfTI file" in told
    assert "sub-02" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["siteA"]


def test_a_dry_run_tells_of_oblique_scans_and_people_without_one(tmp_path: Path) -> None:
    """Both are no refusals, and should be known."""
    bids = bids_site(tmp_path / "siteA", 2)
    turn = np.eye(4)
    turn[:2, :2] = [[0.7, -0.714], [0.714, 0.7]]
    save(bids / "sub-00/ses-1/anat/sub-00_ses-1_T1w.nii.gz", nifti(affine=turn * 2))
    with (bids / "participants.tsv").open("a") as table:
        table.write("sub-77\t50\tF\n")
    told = dry_run(str(bids), str(tmp_path / "out"), "--participant-label", "00")
    assert "1 scans lie more than 30° off the axes" in told
    assert "left out by your own options: 1" in told
    assert "1 participants of participants.tsv have no T1w image" in dry_run(str(bids), str(tmp_path / "out"))
