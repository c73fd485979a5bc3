"""Simulated scans are known as such from their data set's description, whichever way they are found."""

import json
from pathlib import Path

import pytest
from scans_on_disk import SMALL, bids_site

from distunlearn.prepare import PrepareConfig, shard
from distunlearn.prepare.origin import is_simulated


def described(folder: Path, *makers: str) -> Path:
    """A BIDS site whose description names what made it."""
    bids_site(folder)
    made_by = [{"Name": maker} for maker in makers]
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "a site", "GeneratedBy": made_by}))
    return folder


def manifest(out: Path, site: str) -> dict[str, object]:
    """What a site's manifest says."""
    found: dict[str, object] = json.loads((out / site / "manifest.json").read_text())
    return found


def test_a_site_of_a_simulator_says_so_and_another_does_not(tmp_path: Path) -> None:
    """Each manifest speaks of its own site."""
    sources = [described(tmp_path / "made", "distunlearn simulate"), described(tmp_path / "real", "dcm2niix")]
    shard(sources, tmp_path / "out", PrepareConfig.read(SMALL, "test"))
    assert manifest(tmp_path / "out", "made")["simulated"] is True
    assert manifest(tmp_path / "out", "real")["simulated"] is False


def test_a_table_of_simulated_scans_says_so_too(tmp_path: Path) -> None:
    """The description is found from the scans, not from what lists them."""
    site = described(tmp_path / "made", "distunlearn simulate")
    paths = sorted(site.glob("sub-*/**/*_T1w.nii.gz"))
    rows = [f"{path},s{number},{30 + number}" for number, path in enumerate(paths)]
    (tmp_path / "list.csv").write_text("\n".join(["path,subject,age", *rows]) + "\n")
    shard([tmp_path / "list.csv"], tmp_path / "out", PrepareConfig.read(SMALL | {"labels": ("age",)}, "test"))
    assert manifest(tmp_path / "out", "list")["simulated"] is True


@pytest.mark.parametrize("content", ["", "[]", '{"GeneratedBy": "me"}', '{"GeneratedBy": [{"Name": null}]}', "{}"])
def test_a_description_that_says_nothing_is_of_people(tmp_path: Path, content: str) -> None:
    """A broken or bare description is no sign of a simulator."""
    (tmp_path / "dataset_description.json").write_text(content)
    assert not is_simulated(tmp_path / "sub-01" / "anat")
