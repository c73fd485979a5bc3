"""The command line as a user meets it: four ways to start, and one clear line when something is wrong."""

import json
import sys
from pathlib import Path

import pytest
from tiny_run import command, set_options

ACCELERATE = ("accelerate", "launch", "--config_file", "launch/accelerate/cpu.yaml", "--num_processes", "2")
LAUNCHES = {
    "accelerate, the folder": (*ACCELERATE, "distunlearn"),
    "accelerate, the module": (*ACCELERATE, "-m", "distunlearn"),
    "torchrun": ("torchrun", "--standalone", "--nproc-per-node", "2", "-m", "distunlearn"),
    "plain": ("distunlearn",),
}


def test_help_imports_nothing_heavy() -> None:
    """`--help` loads neither torch nor pandas nor MLflow; that keeps it under half a second."""
    code = "import sys; from distunlearn.cli import app; app(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    done = command(sys.executable, "-c", code)
    assert "train" in done.stdout
    for heavy in ("torch", "pandas", "mlflow", "numpy", "pydantic", "sklearn"):
        assert f"'{heavy}'" not in done.stdout, heavy


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("form", LAUNCHES)
def test_every_way_to_start(form: str, planted_shards: Path, tmp_path: Path) -> None:
    """Each way trains, with the processes that were asked for, and leaves a report."""
    run = tmp_path / "run"
    done = command(
        *LAUNCHES[form], "train", "--preset", "demo", "--shards", str(planted_shards), "--out", str(run), *set_options()
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "environment.json").read_text())["world_size"] == (1 if form == "plain" else 2)
    assert (run / "report.html").is_file()


def refused(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """The one line that a command ends with."""
    done = command("distunlearn", *arguments, environment=environment)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("distunlearn: ")]
    assert "Traceback" not in done.stderr
    return line


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    """A key that no configuration knows is refused by name."""
    config = tmp_path / "run.yaml"
    config.write_text("shards: x\nlerning_rate: 1\nstages: [{name: standard}]\n")
    line = refused("train", "--config", str(config), "--out", str(tmp_path / "run"))
    assert "unknown key 'lerning_rate'" in line
    assert "run.yaml" in line


def test_missing_shards_are_named(tmp_path: Path) -> None:
    """A folder without shards is refused with what to do."""
    line = refused("train", "--preset", "demo", "--shards", str(tmp_path / "nothing"), "--out", str(tmp_path / "run"))
    assert "nothing" in line


def test_a_wrong_site_is_named(planted_shards: Path, tmp_path: Path) -> None:
    """A site that is not there is refused, and those that are there are named."""
    line = refused(
        "train",
        "--preset",
        "demo",
        "--shards",
        str(planted_shards),
        "--out",
        str(tmp_path / "run"),
        "--set",
        "sites=[alpha, delta]",
    )
    assert "delta" in line
    assert "gamma" in line


def test_a_lonely_process_is_refused(planted_shards: Path, tmp_path: Path) -> None:
    """Accelerate asked for two processes and started one: refused, with the form that works."""
    environment = {"MASTER_PORT": "29500", "ACCELERATE_MIXED_PRECISION": "no"}
    line = refused(
        "train",
        "--preset",
        "demo",
        "--shards",
        str(planted_shards),
        "--out",
        str(tmp_path / "run"),
        environment=environment,
    )
    assert "started only this one" in line
    assert "--multi_gpu" in line


def test_srun_without_ranks_is_refused(planted_shards: Path, tmp_path: Path) -> None:
    """Several tasks of srun without rank variables would be several runs: refused."""
    line = refused(
        "train",
        "--preset",
        "demo",
        "--shards",
        str(planted_shards),
        "--out",
        str(tmp_path / "run"),
        environment={"SLURM_STEP_NUM_TASKS": "2"},
    )
    assert "srun" in line
