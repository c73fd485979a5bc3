"""The commands probe and report."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distunlearn.cli import app
from distunlearn.errors import UserError


@pytest.fixture
def run(fabricated_run: Path, tmp_path: Path) -> Path:
    """A run of its own."""
    shutil.copytree(fabricated_run, tmp_path / "run", ignore=shutil.ignore_patterns("probe.json"))
    return tmp_path / "run"


def test_probe_says_a_line_a_stage_and_writes_it(run: Path) -> None:
    """One stage alone is compared with the one before it."""
    result = CliRunner().invoke(app, ["probe", str(run), "--quick", "--stage", "unlearning"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.startswith("unlearning: Not separable beyond age")
    assert (run / "unlearning" / "probe.json").is_file()
    assert not (run / "standard" / "probe.json").exists()


def test_report_says_where_the_page_is(run: Path, tmp_path: Path) -> None:
    """The table is printed, the page is written where it was asked for."""
    out = tmp_path / "new" / "page.html"
    result = CliRunner().invoke(app, ["report", str(run), "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "Report:" in result.stdout
    assert out.is_file()


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    """The error names the folder and the remedy."""
    with pytest.raises(UserError, match="no run folder"):
        CliRunner().invoke(app, ["report", str(tmp_path)], catch_exceptions=False)


def test_compare_prints_runs_side_by_side(run: Path, tmp_path: Path) -> None:
    """Both runs' rows, a page in the first run, and what MLflow lacks."""
    other = shutil.copytree(run, tmp_path / "other")
    out = run / "compared.html"
    result = CliRunner().invoke(app, ["compare", str(run), str(other)], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.count("unlearning") >= 2
    assert "MLflow: does not hold run, other; `distunlearn sync`" in result.stdout
    assert out.is_file()


def test_reproduce_names_the_suites(tmp_path: Path) -> None:
    """A suite that does not exist, and a folder that holds none, are one line each."""
    given = ["--out", str(tmp_path), "--preset", "demo", "--shards", str(tmp_path)]
    with pytest.raises(UserError, match="no suite 'table9'; there are table1"):
        CliRunner().invoke(app, ["reproduce", "table9", *given], catch_exceptions=False)
    with pytest.raises(UserError, match=r"suite\.json"):
        CliRunner().invoke(app, ["reproduce", "table1", "--out", str(tmp_path), "--table-only"], catch_exceptions=False)
