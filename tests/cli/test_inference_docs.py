"""docs/inference.md is followed word for word."""

import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distunlearn.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "inference.md"


def test_every_command_of_the_page_works(
    planted_run: Path, planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each indented line that starts with `distunlearn` is run in turn, in a folder that has what the page speaks of."""
    (tmp_path / "runs").mkdir()
    shutil.copytree(planted_run, tmp_path / "runs" / "mine")
    (tmp_path / "scans").symlink_to(planted_shards.parent / "scans")
    (tmp_path / "shards").symlink_to(planted_shards)
    monkeypatch.chdir(tmp_path)
    lines = [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    distunlearn ")]
    assert {shlex.split(line)[1] for line in lines} == {"predict", "embed", "audit", "export"}
    for line in lines:
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}: {done.output} {done.exception}"
    scans = len(list((tmp_path / "scans").glob("*.nii.gz")))
    for table in ("ages.tsv", "features.tsv", "features_of_shards.tsv"):
        assert len((tmp_path / table).read_text().splitlines()) == scans + 1
    assert (tmp_path / "handed-over" / "README.md").is_file()
