"""`verify` names every kind of damage, and nothing that is whole."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scans_on_disk import SMALL, bids_site, read_rows, save, scan_file
from typer.testing import CliRunner

from distunlearn.cli import app
from distunlearn.errors import UserError
from distunlearn.prepare import PrepareConfig, shard
from distunlearn.prepare.verify import verify
from distunlearn.prepare.writing.disk import file_digest


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites of eight people, as they were written."""
    folder = tmp_path_factory.mktemp("verify")
    for site, first in (("siteA", 0), ("siteB", 20)):
        bids_site(folder / "study" / site, first=first)
    drawn = np.ones((12, 14, 10), np.uint8)
    from scans_on_disk import nifti

    save(folder / "study/siteA/sub-01/ses-1/anat/sub-01_ses-1_mask.nii", nifti(drawn))
    shard([folder / "study"], folder / "out", PrepareConfig.read({**SMALL, "segmentation": "mask"}, "test"))
    return folder / "out"


@pytest.fixture
def shards(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "shards"))


def test_whole_shards_have_no_fault(whole: Path) -> None:
    """Every scan is counted."""
    assert verify(whole) == (17, [])


def test_every_flipped_bit_is_found_and_the_scan_named(shards: Path) -> None:
    """200 random flips in a shard: each is a fault of that shard, of a scan by its key where it lies in one."""
    tar = shards / "siteA/siteA-train-000000.tar"
    data, draw = tar.read_bytes(), random.Random(0)
    rows = [row for row in read_rows(shards / "siteA") if row["shard"] == tar.name]
    for bit in draw.sample(range(len(data) * 8), 200):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        tar.write_bytes(damaged)
        inside = [row["key"] for row in rows if 0 <= bit // 8 - int(row["offset"]) < int(row["bytes"])]
        faults = verify(shards)[1]
        assert len(faults) == 1
        assert faults[0].site == "siteA"
        assert faults[0].what.startswith(tar.name)
        assert all(key in faults[0].what for key in inside)


def truncate(path: Path) -> None:
    """Keep the first 300 bytes of a file."""
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("damage", "what", "problem"),
    [
        (lambda site: truncate(site / "siteA-test-000000.tar"), "siteA-test-000000.tar", "damaged"),
        (lambda site: (site / "siteA-test-000000.tar").unlink(), "siteA-test-000000.tar", "is missing"),
        (lambda site: shutil.copy(site / "siteA-test-000000.tar", site / "extra.tar"), "extra.tar", "not in the manifest"),
        (lambda site: truncate(site / "table.tsv"), "table.tsv", "was changed"),
        (lambda site: (site / "table.tsv").unlink(), "table.tsv", "is missing"),
        (lambda site: (site / "manifest.json").unlink(), "manifest.json", "is missing"),
        (lambda site: truncate(site / "manifest.json"), "manifest.json", "is unusable"),
        (lambda site: shutil.copy(site / "../siteB/manifest.json", site / "manifest.json"), "manifest.json", "that of site siteB"),
        (lambda site: shutil.copy(site / "siteA-test-000000.tar", site / "siteA-train-000000.tar"), "siteA-train-000000.tar", "damaged"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_remedy(
    damage: Callable[[Path], object], what: str, problem: str, shards: Path
) -> None:
    """Cut, missing, exchanged and surplus files."""
    damage(shards / "siteA")
    faults = [fault for fault in verify(shards)[1] if what in fault.what and problem in fault.problem]
    assert faults
    assert all(fault.site == "siteA" and "; " in fault.problem for fault in faults)


def test_another_schema_is_refused_by_name(shards: Path) -> None:
    """Shards of a later version are not taken for damaged ones."""
    path = shards / "siteA/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2}))
    assert "schema_version" in verify(shards)[1][0].problem


def test_the_same_scan_at_two_sites_in_two_splits_is_found(tmp_path: Path) -> None:
    """Sites that were sharded apart are compared here."""
    for site, share in (("siteA", {"test": 0, "val": 0}), ("siteB", {"test": 0.99, "val": 0})):
        scan_file(tmp_path / site / "sub-1/anat/sub-1_T1w.nii", 5)
        shard([tmp_path / site], tmp_path / "out", PrepareConfig.read({**SMALL, **share}, "test"))
    faults = verify(tmp_path / "out")[1]
    assert [fault.site for fault in faults] == ["siteA and siteB"]
    assert "test and train" in faults[0].problem


@pytest.mark.parametrize("traveller", [False, True])
def test_a_person_in_two_splits_is_found(traveller: bool, shards: Path) -> None:
    """Within a site by the person's key; over sites by a traveller's code."""
    column, sites = ("traveller", ("siteA", "siteB")) if traveller else ("subject", ("siteA", "siteA"))
    for place, name in enumerate(sites):
        site = shards / name
        path, manifest = site / "table.tsv", json.loads((site / "manifest.json").read_text())
        header, *rows = [line.split("\t") for line in path.read_text().splitlines()]
        if traveller:
            header, rows = [*header, "traveller"], [[*row, "n/a"] for row in rows]
            manifest["labels"] = [*manifest["labels"], "traveller"]
        split = header.index("split")
        chosen = next(row for row in rows if row[split] == ("train", "test")[place])
        chosen[header.index(column)] = "0123456789"
        path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
        (site / "manifest.json").write_text(json.dumps({**manifest, "table_xxh3": file_digest(path)}))
    faults = [fault for fault in verify(shards)[1] if fault.what == "person 0123456789"]
    assert [fault.site for fault in faults] == [" and ".join(dict.fromkeys(sites))]
    assert "test and train" in faults[0].problem


def test_the_command_lists_faults_and_fails(shards: Path) -> None:
    """Exit status and lines for people; silence of details when all is well."""
    assert CliRunner().invoke(app, ["verify", str(shards)]).output.endswith("every byte as it was written\n")
    (shards / "siteA/siteA-test-000000.tar").unlink()
    result = CliRunner().invoke(app, ["verify", str(shards)])
    assert "siteA: siteA-test-000000.tar: is missing" in result.output
    assert isinstance(result.exception, UserError)


def test_a_folder_without_sites_is_refused(tmp_path: Path) -> None:
    """Nothing to verify is not a success."""
    with pytest.raises(UserError, match="no site there"):
        verify(tmp_path)
