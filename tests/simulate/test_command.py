"""The command `distunlearn simulate`: options become the study, and what was done is said."""

from pathlib import Path

from typer.testing import CliRunner

from distunlearn.cli import app
from distunlearn.run_folder import read_json
from distunlearn.simulate.study import RECORD

OPTIONS = (
    "--scale",
    "0.001",
    "--oasis",
    "2",
    "--whitehall",
    "0",
    "--travelling",
    "1",
    "--voxel-mm",
    "8",
    "--workers",
    "1",
)


def test_options_become_the_study(tmp_path: Path) -> None:
    """Sites take their share of the paper's scans unless told otherwise, and 0 leaves a site out; again is a no-op."""
    out = tmp_path / "study"
    first = CliRunner().invoke(app, ["simulate", str(out), *OPTIONS])
    assert first.exit_code == 0, first.output
    assert "made: biobank 7, oasis 2 scans, and 1 travelling people" in first.stdout.replace("\n", " ")
    assert read_json(out / RECORD)["scans"] == {"biobank": 7, "oasis": 2}
    assert sorted(path.name for path in out.iterdir()) == ["biobank", "oasis", RECORD]
    again = CliRunner().invoke(app, ["simulate", str(out), *OPTIONS])
    assert "already there" in again.stdout
