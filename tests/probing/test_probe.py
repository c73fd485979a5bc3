"""Probing whole stages of fabricated runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_run import SCANS, Study, write_run

from distunlearn.errors import UserError
from distunlearn.evaluate.sets import ScanSet, scan_sets
from distunlearn.evaluate.stage import read_stage
from distunlearn.probing.classifiers import QUICK
from distunlearn.probing.probe import probe, probe_run
from distunlearn.probing.separability import tell


def test_the_scanner_is_told_before_and_not_after(fabricated_run: Path) -> None:
    """On planted truths the verdicts are right, and the file holds what was returned."""
    before = probe(fabricated_run / "standard", quick=True)
    after = probe(fabricated_run / "unlearning", before=fabricated_run / "standard", quick=True)
    assert before["verdict"] == "separable"
    assert after["verdict"] == "not separable beyond age"
    assert after["sets"]["matched"]["change"]["high"] < -0.3
    assert json.loads((fabricated_run / "unlearning" / "probe.json").read_text()) == after


def test_the_floor_is_of_the_same_scans_and_the_excess_is_above_it(probed_run: Path) -> None:
    """What the same probes tell on the labels of the very scans that are probed, natural ages the better for it."""
    stage = read_stage(probed_run / "standard")
    found = json.loads((probed_run / "standard" / "probe.json").read_text())["sets"]
    for scans in scan_sets(stage, seed=0, most=150):
        assert isinstance(scans, ScanSet)
        told = tell(scans.labels, scans, probes=QUICK, resamples=2, seed=0).strongest.value
        here = found[scans.name]
        assert here["floor"]["label"]["value"] == pytest.approx(told)
        above = here["strongest"]["value"] - here["floor"]["label_with_error"]["value"]
        assert here["excess"]["value"] == pytest.approx(above)
    assert found["natural"]["floor"]["label"]["value"] > found["natural"]["floor"]["label_with_error"]["value"] > 0.4
    assert found["travelling"]["floor"]["label"]["high"] < 0.45


def test_probes_fitted_on_training_scans_flatter(tmp_path: Path) -> None:
    """Where the site was unlearned by heart, on training scans alone, they read less than held-out probes."""
    run = write_run(tmp_path / "run", Study(shift={"stage": 3.0}))
    table = pd.read_csv(run / "stage" / "predictions.tsv", sep="\t", keep_default_na=False)
    stored = dict(np.load(run / "stage" / "features.npz"))
    train = (table["split"] == "train").to_numpy()
    for site in table["site"].unique():
        here = train & (table["site"] == site).to_numpy()
        stored["features"][here] -= stored["features"][here].mean(axis=0)
    np.savez(run / "stage" / "features.npz", **stored)
    found = probe(run / "stage", quick=True)["sets"]["travelling"]
    assert found["fitted_on_training"]["value"] < found["strongest"]["value"] - 0.2
    assert found["strongest"]["low"] > 0.9


def test_a_partial_success_is_called_reduced(tmp_path: Path) -> None:
    """A scanner effect cut down but still there is neither unchanged nor gone."""
    run = write_run(tmp_path / "run", Study(shift={"standard": 4.0, "unlearning": 1.2}, travellers=0))
    sentences = probe_run(run, quick=True)
    assert list(sentences) == ["standard", "unlearning"]
    assert sentences["unlearning"].startswith("Reduced")
    assert (
        "fewer than two sites"
        in json.loads((run / "standard" / "probe.json").read_text())["sets"]["travelling"]["too_few"]
    )


def test_a_collapsed_stage_is_no_success(tmp_path: Path) -> None:
    """Constant features are at chance, and are called collapsed."""
    run = write_run(tmp_path / "run", Study(collapsed=("unlearning",)))
    assert probe(run / "unlearning", quick=True)["verdict"] == "collapsed"


def test_a_diverged_stage_is_probed_without_a_crash(fabricated_run: Path, tmp_path: Path) -> None:
    """Features that are no numbers are not given to probes."""
    shutil.copytree(fabricated_run, tmp_path / "run")
    path = tmp_path / "run" / "standard" / "features.npz"
    stored = dict(np.load(path))
    np.savez(path, key=stored["key"], features=np.full_like(stored["features"], np.nan))
    found = probe(path.parent, quick=True)
    assert found["verdict"] == "collapsed"
    assert all("not finite" in each["too_few"] for each in found["sets"].values())
    json.dumps(found, allow_nan=False)


def test_too_few_scans_decide_nothing(tmp_path: Path) -> None:
    """A study of a handful of held-out people is told so instead of being given a number."""
    few = dict.fromkeys(SCANS["test"], 4)
    run = write_run(tmp_path / "run", Study(scans={"train": SCANS["train"], "val": few, "test": few}, travellers=3))
    found = probe(run / "unlearning", quick=True)
    assert found["verdict"] == "undecided"
    assert found["travellers"] is None
    assert "fewer than two sites" in found["sets"]["natural"]["too_few"]


def test_stages_of_other_scans_are_not_compared(fabricated_run: Path, tmp_path: Path) -> None:
    """A difference is taken scan by scan, so the scans must be the same."""
    other = write_run(tmp_path / "other", seed=5)
    table = pd.read_csv(other / "standard" / "predictions.tsv", sep="\t", keep_default_na=False)
    table["key"] = "x" + table["key"]
    table.to_csv(other / "standard" / "predictions.tsv", sep="\t", index=False)
    stored = dict(np.load(other / "standard" / "features.npz"))
    np.savez(other / "standard" / "features.npz", key=table["key"].to_numpy(str), features=stored["features"])
    with pytest.raises(UserError, match="other scans"):
        probe(fabricated_run / "unlearning", before=other / "standard", quick=True)


def test_a_stage_that_is_not_there_is_named(fabricated_run: Path) -> None:
    """The error lists the stages that there are."""
    with pytest.raises(UserError, match=r"no stage 'nothing'.*standard, unlearning"):
        probe_run(fabricated_run, only="nothing", quick=True)


def test_sites_of_few_people_are_left_out_and_named(tmp_path: Path) -> None:
    """A small site does not keep the others from being probed; chance is that of the sites which are."""
    small = {split: counts | {"whitehall": 4} for split, counts in SCANS.items()}
    run = write_run(tmp_path / "run", Study(scans=small, travellers=0))
    found = probe(run / "standard", quick=True)
    assert found["sets"]["natural"]["left_out"] == ["whitehall"]
    assert found["sets"]["natural"]["chance"] == 0.5
    assert "scans of 2 sites" in found["sentence"]


def test_where_a_class_is_predicted_the_verdict_speaks_of_it(tmp_path: Path) -> None:
    """The floor and the verdict are of the class and the age; a scanner that is not there is not told."""
    run = write_run(tmp_path / "run", Study(shift={"standard": 2.0, "unlearning": 0.0}, classes=2, travellers=60))
    sentences = probe_run(run, quick=True)
    assert sentences["standard"].startswith("Separable")
    assert not sentences["unlearning"].startswith(("Separable", "Reduced"))
    assert "group and age with the model's error tells" in sentences["unlearning"]
