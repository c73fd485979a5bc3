"""`train --dry-run` says what a run needs, refuses what training would refuse, and leaves nothing behind."""

import re
from pathlib import Path

import pytest
from ranks import on_ranks
from tiny_run import set_options, tiny
from typer.testing import CliRunner

from distunlearn.cli import app
from distunlearn.engine.rehearsal import rehearse
from distunlearn.errors import UserError

PARAMETERS = {"encoder": 2420, "task_head": 321, "domain_head": 387}
"""Of the tiny network,"""


def test_a_dry_run_tells_what_a_run_needs(planted_shards: Path, tmp_path: Path) -> None:
    """Scans, parameters of each part, memory, steps and their time are printed; no file is written."""
    options = ["--preset", "demo", "--shards", str(planted_shards), "--out", str(tmp_path / "run"), *set_options()]
    done = CliRunner().invoke(app, ["train", *options, "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert list(tmp_path.iterdir()) == []
    first, *scans = done.stdout.splitlines()[:4]
    assert first == "1 process on cpu; batches of 9 scans of 8×8×4, 4 steps an epoch"
    assert scans == [f"main, unlearn: {site}" for site in ("alpha: 11 scans", "beta: 11 scans", "gamma: 7 scans")]
    for part, count in PARAMETERS.items():
        assert f"parameters, {part}: {count:,} (" in done.stdout
    assert re.search(r"^memory: \d+(\.\d)? MB a process", done.stdout, re.MULTILINE)
    for stage in ("standard", "unlearning"):
        (seconds,) = re.findall(
            rf"^stage {stage}: 8 steps of ([\d.e-]+) s; a step sends no gradients$", done.stdout, re.M
        )
        assert 0 < float(seconds) < 60
    assert re.search(r"^time: about \d", done.stdout, re.MULTILINE)


def _rehearse(rank: int, _world: int, shards: Path, folder: Path) -> None:
    lines = rehearse(tiny(shards, "stages.1.method.domain_steps=2"), folder / "run")
    (folder / str(rank)).write_text("\n".join(lines))


@pytest.mark.distributed
def test_a_dry_run_of_two_ranks_tells_what_each_phase_sends(planted_shards: Path, tmp_path: Path) -> None:
    """The gradients of the parts that a phase updates, as often as it is repeated; rank 0 alone speaks."""
    on_ranks(2, _rehearse, planted_shards, tmp_path)
    assert (tmp_path / "1").read_text() == ""
    assert not (tmp_path / "run").exists()
    told = (tmp_path / "0").read_text()
    assert told.startswith("2 processes on cpu")
    encoder, task, domain = (4 * count for count in PARAMETERS.values())
    sent = {"task": encoder + task, "domain": 2 * domain, "confusion": encoder}
    line = next(line for line in told.splitlines() if line.startswith("stage unlearning"))
    for phase, nbytes in sent.items():
        assert f"{phase} {nbytes / 1000:.4g} kB in " in line
    assert "in 2 messages" in line.partition("domain")[2].partition(",")[0]


def test_a_dry_run_refuses_what_training_would(planted_shards: Path, tmp_path: Path) -> None:
    """Settings that do not fit, and a folder that holds another run, which is left as it is."""
    with pytest.raises(UserError, match="an alignment compares all scans"):
        rehearse(
            tiny(
                planted_shards, "engine.pieces=2", "stages.1.method={name: alignment}", "stages.1.learning_rate=0.001"
            ),
            tmp_path / "new",
        )
    (tmp_path / "config.yaml").write_text(tiny(planted_shards, "seed=1").dump())
    with pytest.raises(UserError, match="other seed"):
        rehearse(tiny(planted_shards), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
