"""The whole way of a segmentation: simulated tissues, sharded with their scans, learned on two processes, then unlearned."""

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny_run import command

SITES = {"biobank", "oasis", "whitehall"}


@pytest.mark.slow
@pytest.mark.distributed
def test_tissues_are_learned_while_the_scanner_is_unlearned(tmp_path: Path) -> None:
    """Dice a class and site before and after, probes before and after, by the commands of docs/tasks.md in small."""
    study, shards, run = tmp_path / "study", tmp_path / "shards", tmp_path / "run"
    people = ["--biobank", "36", "--oasis", "36", "--whitehall", "36", "--travelling", "10", "--voxel-mm", "8"]
    size = ["--segmentation", "dseg", "--size", "16", "20", "16", "--keep-every", "2"]
    fast = ("stages.0.epochs=12", "stages.1.epochs=6", "tracking.enabled=false", "data.batch=12")
    settings = [word for setting in fast for word in ("--set", setting)]
    for words in (
        ["simulate", str(study), "--tissue-labels", *people],
        ["shard", str(study), str(shards), *size],
        [
            "launch",
            "--nproc",
            "2",
            "train",
            "--preset",
            "segmentation",
            "--shards",
            str(shards),
            "--out",
            str(run),
            *settings,
        ],
    ):
        done = command("distunlearn", *words)
        assert done.returncode == 0, done.stderr
    for stage in ("standard", "unlearning"):
        said = pd.read_csv(run / stage / "predictions.tsv", sep="\t", na_values=["n/a"])
        test = said[said["split"] == "test"].groupby("site")[["dice_1", "dice_2", "dice_3"]].mean()
        assert set(test.index) == SITES
        assert test[["dice_1", "dice_2"]].min(axis=None) > 0.5
        assert (test["dice_3"] > 0).all()  # fluid is a voxel or two thick here, and learned last
        summary = json.loads((run / stage / "summary.json").read_text())
        assert set(summary["splits"]["travelling"]) == SITES
        probe = json.loads((run / stage / "probe.json").read_text())
        assert set(probe["sets"]["travelling"]["scans"]) == SITES
        assert probe["sets"]["travelling"]["strongest"]["value"] > 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {f"val/dice_{tissue}/{site}" for tissue in (1, 2, 3) for site in SITES} <= set(lines[-1])
