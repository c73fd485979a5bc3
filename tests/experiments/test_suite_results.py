"""The figures of a suite: means and spread over seeds, paired differences with their intervals."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_run import Study, write_run

from distunlearn.evaluate.summary import summarise
from distunlearn.experiments import Arena, Suite, table
from distunlearn.experiments.intervals import crossed, paired, student
from distunlearn.experiments.leave_one_out import leave_one_out
from distunlearn.experiments.reproduce import folder_of, read_suite
from distunlearn.experiments.results import EXTERNAL, OPENBHB, SCANNER, over_sites
from distunlearn.experiments.table1 import table1
from distunlearn.probing.probe import probe_run
from distunlearn.run_folder import read_json, stages_done, write_json

SITES = ("biobank", "oasis", "whitehall")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows 7 and 11 of Table 1 with two seeds of fabricated runs: the error is twice as large without unlearning."""
    folder = tmp_path_factory.mktemp("suite")
    whole = table1(Arena(sites=SITES))
    rows = tuple(row for row in whole.rows if row.id[:3] in {"07-", "11-"})
    contrasts = tuple(each for each in whole.contrasts if each.against[:3] == "07-")
    suite = whole.model_copy(update={"rows": rows, "contrasts": contrasts, "seeds": (0, 1, 2)})
    write_json(folder / "suite.json", suite.model_dump(mode="json"))
    for seed in (0, 1):
        for row, name, shift, error in zip(rows, ("standard", "unlearning"), (3.0, 0.0), (8.0, 4.0), strict=True):
            run = write_run(folder_of(folder, row, seed), Study(shift={name: shift}, error=error), seed=seed)
            summarise(run / name)
            probe_run(run, quick=True)
            write_json(run / "STATUS.json", {"state": "finished"})
            write_json(run / "row.json", {"suite": suite.name, "row": row.id, "seed": seed})
    return folder


def test_the_table_says_what_the_runs_say(out: Path) -> None:
    """A cell is the mean over the seeds that are done, with their spread; the paper's cell stands beside it."""
    found = table.read(out)
    suite = read_suite(out)
    cell = next(cell for cell in found.cells if cell.row.id.startswith("07") and cell.measure == "oasis")
    runs = [stages_done(folder_of(out, suite.rows[0], seed))[0] for seed in (0, 1)]
    errors = [read_json(stage / "summary.json")["splits"]["test"]["oasis"]["error"] for stage in runs]
    assert cell.seeds == 2
    assert cell.mean == pytest.approx(np.mean(errors))
    assert cell.sd_seeds == pytest.approx(np.std(errors, ddof=1))
    assert (cell.paper, cell.paper_sd) == (4.19, 3.50)
    assert found.lead.startswith("4 of 6 trainings done")
    scanner = {cell.row.id[:2]: cell for cell in found.cells if cell.measure == SCANNER}
    assert scanner["07"].mean > 90 > scanner["11"].mean
    assert scanner["07"].paper == 96
    assert scanner["07"].chance == pytest.approx(100 / 3)
    told = [read_json(stage / "probe.json")["sets"]["travelling"]["strongest"]["value"] for stage in runs]
    assert scanner["07"].mean == pytest.approx(100 * np.mean(told))


def test_the_openbhb_measure_is_its_formula(out: Path, tmp_path: Path) -> None:
    """Of each training, error at the site that was not trained on times balanced accuracy to the power 0.3; then the mean."""
    folder = shutil.copytree(out, tmp_path / "suite")
    suite = read_suite(folder)
    rows = tuple(row.model_copy(update={"sites": ("biobank", "oasis")}) for row in suite.rows)
    write_json(folder / "suite.json", suite.model_copy(update={"rows": rows}).model_dump(mode="json"))
    cells = {cell.measure: cell.mean for cell in table.read(folder).cells if cell.row.id.startswith("07")}
    external, measure = [], []
    for seed in (0, 1):
        stage = stages_done(folder_of(folder, rows[0], seed))[0]
        external.append(read_json(stage / "summary.json")["splits"]["test"]["whitehall"]["error"])
        told = read_json(stage / "probe.json")["sets"]["travelling"]["strongest"]["value"]
        measure.append(external[-1] * told**0.3)
    assert cells[EXTERNAL] == pytest.approx(np.mean(external))
    assert cells[OPENBHB] == pytest.approx(np.mean(measure))


def test_differences_are_found(out: Path) -> None:
    """Half the error is a difference whose interval lies below zero at every site, and so is the scanner's."""
    found = {each.measure: each for each in table.read(out).differences}
    assert set(found) == {*SITES, SCANNER}
    for site in SITES:
        assert found[site].interval.low < found[site].interval.value < found[site].interval.high < 0
        assert found[site].seeds == 2
    assert found[SCANNER].interval.value < -30


def test_everything_is_written(out: Path) -> None:
    """TSV, markdown and a page that needs nothing else, all with the same figures, and the simulation is said."""
    found = table.read(out)
    page = table.write(found).read_text()
    assert {path.name for path in out.iterdir() if path.is_file()} >= {"table.tsv", "differences.tsv", "table.md"}
    shown = next(line for line in found.rows(lambda figure, _: figure) if line[0].startswith("11."))
    assert shown[1] in page
    assert shown[1] in (out / "table.md").read_text()
    assert page.count("<svg") + page.count("data:image/svg+xml") >= 2
    assert "simulated" in page
    first = page.split("<section>")[0]
    assert "normal training: separable 2" in first
    assert "error, unlearning against normal training: less 3" in first
    assert "Preprocessing" in page
    people = pd.read_csv(next(out.glob("*/*/predictions.tsv")), sep="\t", dtype=str)
    assert not {*people["key"], *people["subject"]} & set(re.findall(r"\w+", page))
    assert "http" not in page.split("</style>")[1].replace("http://www.w3.org", "")


@pytest.mark.parametrize("of_training", [0.0, 0.3, 1.0])
def test_a_paired_interval_holds_its_level(of_training: float) -> None:
    """Of 400 planted suites of three seeds the 95% interval holds the true difference in 95 of 100 or a few more.

    Whether trainings differ little or more than all that people contribute; Bounds are three standard errors away.
    """
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        training, rest = rng.normal(0, of_training, (3, 1)), rng.normal(0, 0.5, (3, 60))
        interval = crossed(rng.normal(1.0, 2.0, 60) + training + rest)
        held += interval.low <= 1.0 <= interval.high
    assert 366 <= held <= 393


def test_people_are_paired_and_those_of_other_splits_are_not() -> None:
    """Of the same people, in whatever order, the interval holds them; of others it is Student's over seeds."""
    rng = np.random.default_rng(1)
    people = pd.Series(rng.normal(1.0, 2.0, 30), index=[f"p{number}" for number in range(30)])
    same = paired([people, people.sample(frac=1, random_state=0) + 0.5])
    assert same == crossed(np.stack([people.to_numpy(), people.to_numpy() + 0.5]))
    assert same.high - same.low > 1
    other = people.set_axis([f"q{number}" for number in range(30)])
    assert paired([people, other.iloc[:20]]) == student([people.mean(), other.iloc[:20].mean()])
    assert paired([people]).low < people.mean() < paired([people]).high


def test_one_value_has_no_interval() -> None:
    """Student's interval of one seed is not made up; that of three is scipy's."""
    assert np.isnan(student([2.0]).low)
    three = student([1.0, 2.0, 3.0])
    assert (three.value, three.low, three.high) == pytest.approx((2.0, -0.4841, 4.4841), abs=1e-3)


def test_left_out_sites_are_averaged() -> None:
    """Every contrast of leave-one-out is about its own site, and none is without one."""
    suite: Suite = leave_one_out(Arena(sites=SITES))
    assert [contrast.sites for contrast in suite.contrasts] == [(site,) for site in SITES]
    assert all(set(row.sites) < set(SITES) for row in suite.rows)
    assert over_sites([]) is None
