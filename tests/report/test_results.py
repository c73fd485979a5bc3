"""The rows of the results table."""

from pathlib import Path

import pandas as pd
import pytest
from fabricated_run import SCANS, Study, write_run

from distunlearn.report.record import read_run
from distunlearn.report.results import result_rows


def test_a_row_a_stage_in_the_order_of_training(probed_run: Path) -> None:
    """Rows are named by their stages, and by their runs too where there are several."""
    record = read_run(probed_run)
    assert [row.name for row in result_rows([record])] == ["standard", "unlearning"]
    assert next(iter(result_rows([record, record]))).name == "run: standard"


def test_cells_are_those_of_the_files(probed_run: Path) -> None:
    """What is printed is what summary.json and probe.json hold."""
    row = result_rows([read_run(probed_run)])[1]
    assert row.probe is not None
    cell = row.stage.summary["splits"]["test"]["oasis"]
    assert row.error("oasis") == f"{cell['error']:.2f} ± {cell['sd']:.2f}"
    assert row.beside_error("oasis") == f"median {cell['constant_error']:.2f}"
    assert row.main == "travelling"
    best = row.probe["sets"]["travelling"]["strongest"]
    assert row.accuracy == f"{100 * best['value']:.0f} [{100 * best['low']:.0f}, {100 * best['high']:.0f}]"
    assert row.beside_accuracy.startswith("chance 33, by age")
    assert row.mean_error == pytest.approx(sum(each["error"] for each in row.cells.values()) / 3)


def test_the_error_is_compared_with_the_stage_before(probed_run: Path) -> None:
    """Person by person, mean over sites: the value is the difference of the cells, the interval holds it."""
    before, after = result_rows([read_run(probed_run)])
    assert before.before is None
    assert before.error_change is None
    change = after.error_change
    assert after.before is before.stage
    assert change is not None
    assert change.value == pytest.approx(after.mean_error - before.mean_error)
    assert change.low < change.value < change.high


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    """A site of few people, a site that was left out and a stage without probes are each called what they are."""
    few = dict(SCANS) | {"test": {"biobank": 30, "oasis": 4, "whitehall": 20}}
    run = write_run(tmp_path / "run", Study(scans=few))
    scans = pd.read_csv(run / "scans.tsv", sep="\t", keep_default_na=False)
    scans.loc[scans["site"] == "whitehall", ["main", "unlearn"]] = 0
    scans.to_csv(run / "scans.tsv", sep="\t", index=False)
    row = result_rows([read_run(run)])[0]
    assert (row.error("oasis"), row.beside_error("oasis")) == ("–", "fewer than 5 people")
    assert row.unseen("whitehall")
    assert not row.unseen("oasis")
    assert (row.accuracy, row.beside_accuracy, row.verdict) == ("–", "not probed", "not probed")
    assert row.error("elsewhere") == "–"
