"""`distunlearn launch` and `sync`: what a newcomer types."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distunlearn.cli import app
from distunlearn.errors import UserError

# Notes which of how many processes it is, in the place of the `distunlearn` package that `launch` starts.
NOTE = """
import os, sys
rank, world_size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
open(f"rank-{rank}", "w").write(f"{world_size} {sys.argv[1:]}")
"""


@pytest.mark.distributed
@pytest.mark.parametrize("nproc", [1, 2])
def test_starts_as_many_processes_as_asked(nproc: int, tmp_path: Path) -> None:
    """Every process gets its rank, the true number of ranks, and the command with its options as they were typed."""
    (tmp_path / "distunlearn").mkdir()
    (tmp_path / "distunlearn/__main__.py").write_text(NOTE)
    start = "from distunlearn.cli import run; import sys; sys.path.insert(0, ''); run()"
    command = [sys.executable, "-c", start, "launch", "--nproc", str(nproc), "train", "--out", "x", "--set", "a=1"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    # Only the children may see the stand-in: the parent is told where the real package is before anything else.
    real = str(Path(__file__).parents[2])
    command[2] = f"import sys; sys.path.insert(0, {real!r}); {start}"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    notes = {path.name: path.read_text() for path in tmp_path.glob("rank-*")}
    assert notes == {f"rank-{rank}": f"{nproc} ['train', '--out', 'x', '--set', 'a=1']" for rank in range(nproc)}
    assert "defaults used instead" not in done.stderr


def test_two_may_be_started_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes meet at a free port: two launches that both took Accelerate's 29500 would not."""
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: started.append(command))
    CliRunner().invoke(app, ["launch", "--nproc", "2", "train", "--out", "x"])
    (line,) = started
    assert line[line.index("--main_process_port") + 1] == "0"


def test_says_what_is_missing() -> None:
    """Without a number of processes one line says so."""
    result = CliRunner().invoke(app, ["launch", "train"])
    assert isinstance(result.exception, UserError)
    assert "--nproc" in str(result.exception)


def test_a_configuration_of_accelerate_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --config-file nothing is decided here but what was asked for."""
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: started.append(command))
    CliRunner().invoke(app, ["launch", "--config-file", "8gpu.yaml", "train", "--out", "x"])
    assert started[0][3:] == ["--config_file", "8gpu.yaml", "-m", "distunlearn", "train", "--out", "x"]


def test_sync_refuses_what_is_no_run(tmp_path: Path) -> None:
    """`sync` on a folder without metrics is refused in one line."""
    result = CliRunner().invoke(app, ["sync", str(tmp_path)])
    assert isinstance(result.exception, UserError)
