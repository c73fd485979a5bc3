"""The link to MLflow's comparison of runs."""

from pathlib import Path

import pytest

from distunlearn.run_folder import write_json
from distunlearn.tracking import compare_link


def mirrored(folder: Path, run: str, uri: str = "http://ada:secret@tracker:5000") -> Path:
    """A run folder of which MLflow knows."""
    folder.mkdir()
    write_json(folder / "mlflow.json", {"run_id": run, "experiment_id": "7", "tracking_uri": uri})
    return folder


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_runs_are_listed(tmp_path: Path) -> None:
    """MLflow's own address of a comparison, each experiment once, without credentials."""
    runs = [mirrored(tmp_path / name, name) for name in ("a", "b")]
    assert compare_link(runs) == "http://tracker:5000/#/compare-runs?runs=[%22a%22,%22b%22]&experiments=[%227%22]"


def test_a_database_is_served_first(tmp_path: Path) -> None:
    """Runs in a file: the command that serves it, then the address."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    runs = [mirrored(tmp_path / name, name, uri) for name in ("a", "b")]
    link = compare_link(runs)
    assert link.startswith("mlflow ui --backend-store-uri")
    assert "/#/compare-runs?runs=[%22a%22,%22b%22]" in link


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    """Runs that MLflow lacks are named; runs in two places have no common page."""
    here, there = mirrored(tmp_path / "a", "a"), mirrored(tmp_path / "b", "b", "http://other:5000")
    assert "does not hold c;" in compare_link([here, tmp_path / "c"])
    assert "different places" in compare_link([here, there])
