"""The whole way on real brains of three sites, in small; the scans are not part of the repository."""

import os
from pathlib import Path

import pandas as pd
import pytest
from tiny_run import command, set_options

SCANS = Path(os.environ.get("DISTUNLEARN_REAL", Path(__file__).parents[2] / "shared" / "data" / "t1"))


@pytest.mark.real
@pytest.mark.distributed
def test_the_whole_way_on_real_scans(tmp_path: Path) -> None:
    """Sharded, trained on two processes, evaluated, predicted and reported: every site, every scan, nothing refused."""
    if not SCANS.is_dir():
        pytest.skip("no real scans there; set DISTUNLEARN_REAL to a folder of BIDS folders, one a site")
    shards, run = tmp_path / "shards", tmp_path / "run"
    done = command("distunlearn", "shard", str(SCANS), str(shards), "--size", "16", "16", "16", "--keep-every", "2")
    assert done.returncode == 0, done.stderr
    done = command(
        "accelerate", "launch", "--config_file", "launch/accelerate/cpu.yaml", "--num_processes", "2",
        "distunlearn", "train", "--preset", "demo", "--shards", str(shards), "--out", str(run),
        *set_options("stages.0.epochs=1", "stages.1.epochs=1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    predictions = pd.read_csv(run / "unlearning" / "predictions.tsv", sep="\t")
    sites = {folder.name for folder in SCANS.iterdir() if folder.is_dir()}
    assert set(predictions["site"]) == sites
    assert len(predictions) == len(list(SCANS.rglob("*_T1w.nii.gz")))
    assert predictions["prediction"].between(0, 120).all()
    assert (run / "report.html").is_file()
    scan = next(iter(sorted(SCANS.rglob("*_T1w.nii.gz"))))
    done = command("distunlearn", "predict", str(scan), "--run", str(run))
    assert done.returncode == 0, done.stderr
    assert "age" in done.stdout
    done = command("distunlearn", "evaluate", str(run))
    assert done.returncode == 0, done.stderr
    again = pd.read_csv(run / "unlearning" / "predictions.tsv", sep="\t")
    assert (again["prediction"] - predictions["prediction"]).abs().max() < 1e-2
