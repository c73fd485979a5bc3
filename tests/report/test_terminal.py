"""The table on a terminal."""

from pathlib import Path

import pytest
from fabricated_run import write_run

from distunlearn.probing.probe import probe
from distunlearn.report import print_table


def test_eighty_columns_hold_three_sites(
    fabricated_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is cut off on a narrow terminal, and figures are those of the files."""
    monkeypatch.setenv("COLUMNS", "80")
    found = probe(fabricated_run / "unlearning", quick=True)
    print_table([fabricated_run])
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert found["sentence"] in " ".join(out.split())
    assert out.count("±") == 7  # the title and two stages at three sites


def test_many_sites_are_summed_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more sites than fit, the mean and the worst are shown."""
    monkeypatch.setattr("distunlearn.report.terminal.MOST_SITES", 2)
    print_table([write_run(tmp_path / "run")])
    assert "worst site" in capsys.readouterr().out
