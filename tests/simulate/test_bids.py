"""The study on disk: what a BIDS reader expects is there, and files look like those of different sites."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from distunlearn.prepare.origin import is_simulated
from distunlearn.simulate.bids import AXES
from distunlearn.simulate.scanner import LABELS

SITES = ("biobank", "oasis", "whitehall")


def participants(site: Path) -> pd.DataFrame:
    """A site's table, with n/a kept as it is written."""
    return pd.read_csv(site / "participants.tsv", sep="\t", keep_default_na=False).set_index("participant_id")


@pytest.mark.parametrize("name", SITES)
def test_site_is_a_bids_data_set(small_study: Path, name: str) -> None:
    """Description, table and its dictionary are there, the table names exactly the folders, and all is known as simulated."""
    site = small_study / name
    assert {"Name", "BIDSVersion"} <= set(json.loads((site / "dataset_description.json").read_text()))
    assert is_simulated(next(site.glob("sub-*")))
    table = participants(site)
    assert set(table.index) == {folder.name for folder in site.glob("sub-*")}
    assert set(table.columns) == set(json.loads((site / "participants.json").read_text()))


@pytest.mark.parametrize("name", SITES)
def test_every_scan_has_its_sidecar_and_its_tissues(small_study: Path, name: str) -> None:
    """Beside each volume lies a sidecar; the derivative has labels of the same grid that cover the same brain."""
    site = small_study / name
    scans = sorted(site.glob("sub-*/**/anat/*_T1w.nii.gz"))
    assert len(scans) == {"biobank": 60, "oasis": 70, "whitehall": 50}[name]
    for path in scans:
        assert path.name.startswith("_".join(part for part in path.parent.parts if part.startswith(("sub-", "ses-"))))
        assert json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())["Modality"] == "MR"
        labels = site / "derivatives" / "tissue" / path.relative_to(site).parent / path.name.replace("_T1w", "_dseg")
        volume, truth = nib.load(path), nib.load(labels)
        assert np.array_equal(volume.affine, truth.affine)
        assert set(np.unique(truth.dataobj)) == {0, *LABELS.values()}
        assert not np.any(np.asarray(volume.dataobj)[np.asarray(truth.dataobj) == 0])


def test_sessions_hold_the_age_at_each(small_study: Path) -> None:
    """Where people return, sessions.tsv lists each session's folder with an age that rises from that of the table."""
    table, returned = participants(small_study / "oasis"), 0
    for folder in (small_study / "oasis").glob("sub-*"):
        sessions = pd.read_csv(folder / f"{folder.name}_sessions.tsv", sep="\t")
        assert set(sessions.session_id) == {session.name for session in folder.glob("ses-*")}
        assert sessions.age.is_monotonic_increasing
        assert sessions.age[0] == table.age[folder.name]
        returned += len(sessions) > 1
    assert returned > 3


def test_travelling_people_are_marked_at_every_site(small_study: Path) -> None:
    """The same codes stand in every site's table with split `travelling`; all others have n/a for both."""
    for name in SITES:
        table = participants(small_study / name)
        travelling = table[table.split == "travelling"]
        assert sorted(travelling.traveller) == [f"T{n:03d}" for n in range(1, 11)]
        assert set(table[table.split != "travelling"][["traveller", "split"]].to_numpy().ravel()) == {"n/a"}


@pytest.mark.parametrize("name", SITES)
def test_geometry_is_the_sites_own_and_valid(small_study: Path, name: str) -> None:
    """Axes are stored in the site's order, as int16, and both transforms of the header agree."""
    image = nib.load(next((small_study / name).glob("sub-*/**/*_T1w.nii.gz")))
    assert "".join(nib.aff2axcodes(image.affine)) == AXES[name]
    assert image.get_data_dtype() == np.int16
    assert image.get_qform(coded=True)[1] == image.get_sform(coded=True)[1] == 1
    assert image.get_qform() == pytest.approx(image.get_sform(), abs=1e-4)
    assert np.asarray(image.dataobj).min() == 0


def test_voxels_differ_between_sites(small_study: Path) -> None:
    """No two sites have the same voxel sizes, and at one of them slices are thicker than wide."""
    images = [nib.load(next((small_study / name).glob("sub-*/**/*_T1w.nii.gz"))) for name in SITES]
    sizes = [tuple(np.round(image.header.get_zooms(), 3).tolist()) for image in images]
    assert len(set(sizes)) == 3
    assert any(z > 1.2 * x for x, _, z in sizes)
