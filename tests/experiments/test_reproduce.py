"""A suite is interrupted and goes on, and its table is rebuilt from files alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from planted_study import SITES as COUNTS
from planted_study import write_scans
from tiny_run import tiny

from distunlearn.engine.stop import STATUS
from distunlearn.errors import UserError
from distunlearn.experiments import SUITES, Arena, Suite, table
from distunlearn.experiments import reproduce as suites
from distunlearn.experiments.reproduce import reproduce
from distunlearn.prepare import PrepareConfig, Preprocessing, shard
from distunlearn.report import write_report

# The command line, in a process that is told to stop in the middle of a step of its last stage.
TOLD = """
import os, signal
from distunlearn.engine import train as engine
from distunlearn.cli import run
honest, steps = engine.take_step, iter(range(1, 1000))
def told(*arguments, **named):
    if next(steps) == 5:
        os.kill(os.getpid(), signal.SIGTERM)
    return honest(*arguments, **named)
engine.take_step = told
run()
"""


class Trainings:
    """Counts the trainings that are started; the second one of them is told to stop."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.honest = subprocess.Popen

    def __call__(self, command: list[str], **named: Any) -> "subprocess.Popen[bytes]":
        """Start one."""
        self.started.append(Path(command[-1]).name)
        if len(self.started) == 2:
            command = [sys.executable, "-c", TOLD, *command[3:]]
        return self.honest(command, **named)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted study with half of the people held out, so that every site has enough of them to be shown."""
    folder = tmp_path_factory.mktemp("half")
    scans = write_scans(folder / "scans")
    secrets = folder / "shards.secrets"
    secrets.mkdir(mode=0o700)
    for site in COUNTS:
        (secrets / f"site-{site}.secret").write_text(f"{site.encode().hex():0>64}\n")
    preprocessing = Preprocessing(size=(8, 8, 8), keep_every=2)
    shard([scans], folder / "shards", PrepareConfig(preprocessing=preprocessing, workers=1, test=0.5))
    return folder / "shards"


def small_suite() -> Suite:
    """Two rows of Table 1: two sites by normal training and by unlearning, with the third unseen."""
    whole = SUITES["table1"](Arena(sites=tuple(COUNTS)))
    rows = tuple(row for row in whole.rows if row.id in {"04-normal-BO", "08-unlearning-BO"})
    return whole.model_copy(update={"rows": rows, "contrasts": whole.contrasts[:1], "seeds": (0,)})


def test_a_suite_is_interrupted_and_goes_on(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second training is told to stop: it goes on in the middle, the first one is not run again, and then none is."""
    suite, base, out = small_suite(), tiny(shards), tmp_path / "out"
    trainings = Trainings()
    monkeypatch.setattr(suites.subprocess, "Popen", trainings)
    with pytest.raises(SystemExit) as ended:
        reproduce(suite, base, out)
    assert ended.value.code == STATUS
    first, second = "04-normal-BO-seed0", "08-unlearning-BO-seed0"
    assert trainings.started == [first, second]
    before = (out / first / "metrics.jsonl").read_bytes()
    half = table.read(out)
    assert {cell.row.id for cell in half.cells} == {"04-normal-BO"}
    assert half.lead.startswith("1 of 2 trainings done")
    assert not half.differences

    reproduce(suite, base, out)
    assert trainings.started == [first, second, second]
    assert "going on with stage" in (out / f"{second}.log").read_text()
    assert (out / first / "metrics.jsonl").read_bytes() == before
    reproduce(suite, base, out)
    assert len(trainings.started) == 3
    assert {path.name for path in out.glob("*/row.json") for path in [path.parent]} == {first, second}

    whole = table.read(out)
    unseen = json.loads((out / second / "unlearning" / "summary.json").read_text())
    assert unseen["trained_on"] == ["alpha", "beta"]
    assert {cell.measure for cell in whole.cells} >= {"alpha", "beta", "gamma", "external MAE"}
    shown = next(cell for cell in whole.cells if cell.row.id.startswith("08") and cell.measure == "gamma")
    assert shown.mean == unseen["splits"]["test"]["gamma"]["mae"]
    assert shown.paper == 4.60

    page = table.write(whole).read_text()
    assert "4.60 ± 3.47" in page
    assert "Differences" in page
    assert write_report([out / second]).is_file()  # a page of its own with a site that it was not trained on

    alone = tmp_path / "files"
    shutil.copytree(
        out, alone, ignore=shutil.ignore_patterns("checkpoints", "model", "*.yaml.*", "*.log", "index.html")
    )
    shutil.rmtree(shards)
    assert table.markdown(table.read(alone)) == table.markdown(whole)


def test_another_configuration_is_refused(planted_shards: Path, tmp_path: Path) -> None:
    """A suite's folder goes on with its own rows and settings only."""
    suite, base = small_suite(), tiny(planted_shards)
    run = suites.folder_of(tmp_path, suite.rows[0], 0)
    run.mkdir()
    (run / "config.yaml").write_text(suite.rows[0].configure(base, suite=suite.name, seed=0).dump())
    with pytest.raises(UserError, match="other encoder"):
        reproduce(suite, tiny(planted_shards, "encoder.features=4"), tmp_path)
    with pytest.raises(UserError, match="holds suite table1 with other rows"):
        reproduce(suite.model_copy(update={"rows": suite.rows[:1]}), base, tmp_path)


def test_a_training_that_fails_is_named(planted_shards: Path, tmp_path: Path) -> None:
    """The line names the row, the status and the log, and the suite stops there."""
    base = tiny(planted_shards).model_copy(update={"shards": planted_shards / "nowhere"})
    with pytest.raises(
        UserError, match=r"04-normal-BO-seed0: its training ended with status 2: .*04-normal-BO-seed0\.log"
    ):
        reproduce(small_suite(), base, tmp_path)
