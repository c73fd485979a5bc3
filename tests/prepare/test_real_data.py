"""Real scans and a real table, which are not part of the repository: skipped, with a word, where they are not."""

import os
from pathlib import Path

import pytest
from scans_on_disk import tree

from distunlearn.prepare import PrepareConfig, shard
from distunlearn.prepare.options import read_request

ROOT = Path(__file__).parents[2]
SCANS = Path(os.environ.get("DISTUNLEARN_REAL", ROOT / "shared" / "data" / "t1"))
TABLES = Path(os.environ.get("DISTUNLEARN_TABLES", ROOT / "shared" / "data" / "tables"))


@pytest.mark.real
def test_real_scans_are_the_same_by_bids_and_by_csv(tmp_path: Path) -> None:
    """Three sites, sessions, shapes that differ: every byte of the shards is the same, and no scan is refused."""
    if not SCANS.is_dir():
        pytest.skip("no real scans there; set DISTUNLEARN_REAL to a folder of BIDS folders, one a site")
    config = PrepareConfig.read({"preprocessing": {"size": (32, 32, 32)}}, "test")
    by_bids = shard([SCANS], tmp_path / "bids", config, secrets=tmp_path / "secrets")
    shard([SCANS / "manifest.csv"], tmp_path / "csv", config, secrets=tmp_path / "secrets")
    assert tree(tmp_path / "bids") == tree(tmp_path / "csv")
    assert not by_bids.dropped
    assert sum(by_bids.found.values()) == len(list(SCANS.rglob("*_T1w.nii.gz")))


@pytest.mark.real
def test_a_real_table_of_features_is_what_its_recipe_expects(tmp_path: Path) -> None:
    """The 1000 Functional Connectomes: all people of all sites, none refused."""
    if not (TABLES / "fcon1000.csv").is_file():
        pytest.skip("no fcon1000.csv there; set DISTUNLEARN_TABLES to its folder")
    request = read_request([ROOT / "shards/fcon1000.yaml", tmp_path / "out"], {}, {}, data=TABLES)
    summary = shard(request.sources, request.out, request.config)
    assert request.recipe
    assert sum(summary.found.values()) == request.recipe.expect["total"].scans
    assert len(summary.sites) == 23
    assert not summary.dropped
