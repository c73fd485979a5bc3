"""A suite is interrupted and goes on, and its table is rebuilt from files alone."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from planted_study import SITES as COUNTS
from planted_study import write_scans
from tiny_run import tiny
from typer.testing import CliRunner

from distunlearn.cli import app
from distunlearn.engine.stop import STATUS
from distunlearn.errors import UserError
from distunlearn.experiments import SUITES, Arena, Suite, crew, table
from distunlearn.experiments import reproduce as suites
from distunlearn.experiments.reproduce import reproduce
from distunlearn.prepare import PrepareConfig, Preprocessing, shard
from distunlearn.report import write_report
from distunlearn.tracking.record import Request
from distunlearn.tracking.store import SQLITE, Store

# The command line, in a process that is told to stop in the middle of a step of its last stage.
TOLD = """
import os, signal
from distunlearn.engine import stage
from distunlearn.cli import run
honest, steps = stage.take_step, iter(range(1, 1000))
def told(*arguments, **named):
    if next(steps) == 5:
        os.kill(os.getpid(), signal.SIGTERM)
    return honest(*arguments, **named)
stage.take_step = told
run()
"""


FIRST, SECOND = "04-normal-BO-seed0", "08-unlearning-BO-seed0"


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


@dataclass(frozen=True)
class Played:
    """What came of a suite whose second training was told to stop, and which was started three times."""

    out: Path
    started: list[list[str]]
    """Trainings begun by each start."""
    first_alone: bytes
    """metrics.jsonl of the first row after the first start."""
    half: str
    """The table after the first start."""


@pytest.fixture(scope="module")
def played(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Two rows: interrupted, gone on with, and started once more; the shards are gone afterwards."""
    suite, base, out, trainings = small_suite(), tiny(shards), tmp_path_factory.mktemp("suite"), Trainings()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(crew.subprocess, "Popen", trainings)
        with pytest.raises(SystemExit) as ended:
            reproduce(suite, base, out)
        assert ended.value.code == STATUS
        begun, half = [len(trainings.started)], table.markdown(table.read(out))
        first_alone = (out / FIRST / "metrics.jsonl").read_bytes()
        for _ in range(2):
            reproduce(suite, base, out)
            begun.append(len(trainings.started))
    shutil.rmtree(shards)
    started = [trainings.started[start:stop] for start, stop in pairwise([0, *begun])]
    return Played(out, started, first_alone, half)


def test_a_suite_is_interrupted_and_goes_on(played: Played) -> None:
    """The stopped training goes on in the middle, the one before it is not run again, and in the end none is."""
    assert played.started == [[FIRST, SECOND], [SECOND], []]
    assert "going on with stage" in (played.out / f"{SECOND}.log").read_text()
    assert (played.out / FIRST / "metrics.jsonl").read_bytes() == played.first_alone
    assert {path.parent.name for path in played.out.glob("*/row.json")} == {FIRST, SECOND}


def test_a_half_done_suite_has_a_table(played: Played) -> None:
    """The row that is done is shown, the other one has the paper's cells alone, and nothing is compared."""
    row, other = (line for line in played.half.splitlines() if line.startswith(("| 4.", "| 8.")))
    assert "1 of 2 trainings done" in played.half
    assert "1 seed" in row
    assert "1 seed" not in other
    assert "paper 4.60 ± 3.47" in other
    assert "−" not in played.half


def test_a_site_that_was_not_trained_on_is_evaluated(played: Played) -> None:
    """Every row shows all sites of the suite; the unseen one is marked, and the run's own page takes it too."""
    summary = json.loads((played.out / SECOND / "unlearning" / "summary.json").read_text())
    assert summary["trained_on"] == ["alpha", "beta"]
    found = table.read(played.out)
    unseen = next(cell for cell in found.cells if cell.row.id.startswith("08") and cell.measure == "gamma")
    assert unseen.mean == summary["splits"]["test"]["gamma"]["error"]
    assert (unseen.paper, unseen.paper_sd) == (4.60, 3.47)
    assert "4.60 ± 3.47" in table.write(found).read_text()
    assert [each.measure for each in found.differences][:3] == ["alpha", "beta", "gamma"]
    assert write_report([played.out / SECOND]).is_file()


def test_the_table_is_rebuilt_from_files_alone(played: Played, tmp_path: Path) -> None:
    """Without shards, checkpoints, models, logs and MLflow, and elsewhere, the table is the same."""
    left_out = shutil.ignore_patterns("checkpoints", "model", "*-seed0.yaml", "*.log", "index.html", "mlflow.db")
    shutil.copytree(played.out, tmp_path / "copy", ignore=left_out)
    assert table.markdown(table.read(tmp_path / "copy")) == table.markdown(table.read(played.out))


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


def test_a_suite_leaves_what_its_trainings_are_children_of(tmp_path: Path) -> None:
    """With the configurations for a job array, in their experiment and once for all starts; not with tracking off."""
    suite = small_suite()
    suites.write_configurations(suite, tiny(tmp_path / "shards"), tmp_path / "untracked")
    assert not (tmp_path / "untracked" / "tracking").exists()
    out, found = tmp_path / "out", []
    for _ in range(2):
        configs = suites.write_configurations(suite, tiny(tmp_path / "shards", "tracking.enabled=true"), out)
        found.append(Request.of(out))
    assert {config.tracking.experiment for _, config in configs.values()} == {found[0].experiment}
    assert (found[0].run_name, found[0].tags, found[0].holds_runs) == ("table1", {"suite": "table1"}, True)
    assert found[0].id == found[1].id


def test_a_training_that_fails_is_named(planted_shards: Path, tmp_path: Path) -> None:
    """The line names the row, the status and the log, and the suite stops there."""
    base = tiny(planted_shards / "nowhere")
    with pytest.raises(
        UserError, match=r"04-normal-BO-seed0: its training ended with status 2: .*04-normal-BO-seed0\.log"
    ):
        reproduce(small_suite(), base, tmp_path)


@pytest.mark.parametrize(
    ("end", "status"),
    [(UserError("failed"), "FAILED"), (OSError("disk full"), "FAILED"), (SystemExit(STATUS), "KILLED")],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy
def test_a_suite_that_stops_early_is_not_left_running(
    end: BaseException, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow shows its run as failed or as killed until the suite has its table."""

    def stop(*_: Any) -> None:
        raise end

    monkeypatch.setattr(suites, "trained", stop)
    with pytest.raises(type(end)):
        reproduce(small_suite(), tiny(tmp_path / "shards", "tracking.enabled=true"), tmp_path / "out")
    client = Store(f"{SQLITE}{tmp_path / 'out' / 'mlflow.db'}").client
    (parent,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert (parent.info.run_name, parent.info.status) == ("table1", status)


def test_the_command_says_what_mlflow_lacks(
    planted_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is written all the same, and what the mirror answered is said."""
    monkeypatch.setattr(
        suites, "reproduce", lambda suite, base, out, **_: suites.write_configurations(suite, base, out)
    )
    monkeypatch.setattr(suites, "mirror_table", lambda files, out: f"lacking {len(files)} files of {out.name}")
    arguments = ["reproduce", "table1", "--shards", str(planted_shards), "--out", str(tmp_path / "out")]
    said = CliRunner().invoke(app, [*arguments, "--preset", "demo", "--sites", "alpha,beta,gamma"])
    assert said.exit_code == 0, said.output
    assert re.search(r"lacking [1-9]\d* files of out", said.output)
    assert (tmp_path / "out" / "table.md").is_file()
