"""Segmentations and masks travel along with their scans."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scans_on_disk import bids_site, manifest_of, nifti, read_rows, read_values, run, save

from distunlearn.prepare import TooManyRefusedError


def test_a_segmentation_travels_along_on_the_same_grid(tmp_path: Path) -> None:
    """It is turned, cut and resized as its scan, nearest neighbour; a scan without one has n/a."""
    bids = bids_site(tmp_path / "siteA", 2)
    labels = np.zeros((12, 14, 10), np.uint8)
    labels[6:, :, :] = 3
    labels[:, 7:, :] = 7
    drawn = bids / "derivatives/tissue/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz"
    image = nib.Nifti1Image(labels, np.diag([2.0, 2, 2, 1])).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    save(drawn, image.to_bytes())
    run([bids], tmp_path / "out", {"segmentation": "dseg"})
    site = tmp_path / "out/siteA"
    manifest = manifest_of(site)
    assert manifest.segmentation
    assert (manifest.segmentation.classes, manifest.segmentation.scans) == ((0, 3, 7), 1)
    with_one = next(row for row in read_rows(site) if row["segmentation_offset"] != "n/a")
    assert sum(row["segmentation_offset"] == "n/a" for row in read_rows(site)) == 1
    place = {**with_one, "offset": with_one["segmentation_offset"], "bytes": str(16 * 16 * 4)}
    expected = np.zeros((16, 16, 4), np.uint8)
    expected[8:] = 3
    expected[:, 8:] = 7
    assert np.array_equal(read_values(site, place, (16, 16, 4), "u1"), expected)


SHIFTED = np.array([[2.0, 0, 0, 1], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (nifti(np.full((12, 14, 9), 1, np.uint8)), "another grid"),
        (nifti(np.full((12, 14, 10), 1, np.uint8), SHIFTED), "another grid"),
        (nifti(np.full((12, 14, 10), 0.5, "f4")), "whole numbers"),
        (nifti(np.full((12, 14, 10), 256, np.int16)), "whole numbers"),
    ],
)
def test_a_segmentation_that_does_not_fit_refuses_its_scan(label: bytes, words: str, tmp_path: Path) -> None:
    """Another grid, or a probability map: a wrong label is worse than none."""
    bids = bids_site(tmp_path / "siteA", 1)
    save(bids / "sub-00/ses-1/anat/sub-00_ses-1_mask.nii", label)
    with pytest.raises(TooManyRefusedError, match="segmentation 1") as caught:
        run([bids], tmp_path / "out", {"segmentation": "mask"})
    assert words in caught.value.summary.dropped[0].reason
