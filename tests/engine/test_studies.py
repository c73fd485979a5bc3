"""Whole runs of what the scheme can be beside age and site: segmentation, classification, other confounds, erasure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted_study import write_scans
from tiny_run import tiny

from distunlearn.config import RunConfig
from distunlearn.engine.train import train
from distunlearn.evaluate.stage import read_stage
from distunlearn.prepare import PrepareConfig, Preprocessing, shard
from distunlearn.run_folder import read_json


def run(config: RunConfig, folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train; the predictions and the last figures of the last stage."""
    train(config, folder)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return pd.read_csv(folder / "unlearning" / "predictions.tsv", sep="\t"), last


def test_a_segmentation_is_learned_while_the_site_is_unlearned(drawn_shards: Path, tmp_path: Path) -> None:
    """Dice a class and site is reported and high; scans that nobody drew take part in unlearning, and get a prediction."""
    config = tiny(
        drawn_shards, "task={name: segmentation}", "encoder={name: unet, channels: [4, 8], features: 4}", "data.batch=8",
        "data.unlearn.among=study", "stages.0.epochs=30", "stages.0.learning_rate=0.01",
        "stages.1.method={name: joint, domain_steps: 2}", "stages.1.learning_rate=0.005",
    )  # fmt: skip
    said, last = run(config, tmp_path / "run")
    assert last["val/dice_3"] == pytest.approx((last["val/dice_3/a"] + last["val/dice_3/b"]) / 2)
    test = said[said["split"] == "test"]
    assert test["dice_3"].mean() > 0.8
    assert said["prediction"].notna().all()
    assert said["target"].isna().sum() == 10, "one scan in four is not drawn"
    scans = pd.read_csv(tmp_path / "run" / "scans.tsv", sep="\t")
    assert scans["unlearn"].sum() > scans["main"].sum() > 0


def test_sex_is_predicted_and_its_classes_weighed(drawn_shards: Path, tmp_path: Path) -> None:
    """Probabilities of the classes add up to one; the likeliest is the prediction. Who has no sex is predicted, not learned from."""
    task = "task={name: classification, target: sex, class_weights: balanced}"
    said, last = run(tiny(drawn_shards, task, "data.batch=8"), tmp_path / "run")
    assert 0 <= last["val/error_rate/a"] <= 1
    assert np.allclose(said["probability_F"] + said["probability_M"], 1, atol=1e-3)
    assert ((said["probability_M"] > 0.5) == (said["prediction"] == 1)).all()
    known = said["sex"].notna()
    assert set(zip(said["sex"][known], said["target"][known], strict=True)) == {("F", 0), ("M", 1)}
    assert (~known).sum() == 4
    assert said["target"][~known].isna().all()
    scans = pd.read_csv(tmp_path / "run" / "scans.tsv", sep="\t")
    assert not scans.loc[scans["sex"].isna(), "main"].any()


def test_site_and_sex_are_unlearned_together_each_on_its_own_scans(planted_shards: Path, tmp_path: Path) -> None:
    """Both confounds have heads and losses; the X_u of one can be another than that of the other."""
    config = tiny(
        planted_shards, "confounds.sex={column: sex, unlearn: {rule: where, where: {age: '<60'}}}",
        "stages.1.method={name: unlearning, confounds: [site, sex]}",
        "stages.1.learning_rate={task: 0.001, domain: 0.001, domain_sex: 0.001, confusion: 0.001}",
    )  # fmt: skip
    _, last = run(config, tmp_path / "run")
    assert {"train/domain", "train/domain_sex", "train/confusion"} <= set(last)
    scans = pd.read_csv(tmp_path / "run" / "scans.tsv", sep="\t")
    assert scans.loc[scans["unlearn_sex"] == 1, "age"].max() < 60 < scans.loc[scans["unlearn"] == 1, "age"].max()


@pytest.fixture(scope="module")
def unlabelled_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted study, but nobody knows the age of anybody at its third site."""
    folder = tmp_path_factory.mktemp("unlabelled")
    table = write_scans(folder / "scans")
    people = pd.read_csv(table)
    people.loc[people["site"] == "gamma", "age"] = None
    people.to_csv(table, index=False)
    shard(
        [table], folder / "shards", PrepareConfig(preprocessing=Preprocessing(size=(8, 8, 8), keep_every=2), workers=1)
    )
    return folder / "shards"


def test_a_site_without_labels_takes_part_in_unlearning_only(unlabelled_shards: Path, tmp_path: Path) -> None:
    """A third site is in X_u and not in X_p; it gets predictions, and probes look at all three."""
    config = tiny(unlabelled_shards, "data.main.sites=[alpha, beta]", "data.unlearn.among=study")
    said, last = run(config, tmp_path / "run")
    scans = pd.read_csv(tmp_path / "run" / "scans.tsv", sep="\t").groupby("site")[["main", "unlearn"]].sum()
    assert scans.loc["gamma", "main"] == 0 < scans.loc["gamma", "unlearn"]
    third = said[said["site"] == "gamma"]
    assert third["target"].isna().all()
    assert third["prediction"].notna().all()
    assert read_stage(tmp_path / "run" / "unlearning").sites == ("alpha", "beta", "gamma")
    assert {"val/mae/alpha", "val/mae/beta"} <= set(last)
    assert "val/mae/gamma" not in last


def test_age_is_unlearned_while_sex_is_predicted(planted_shards: Path, tmp_path: Path) -> None:
    """A continuous confound beside the site, and a binned one: each has a head, a loss and a place in the confusion."""
    config = tiny(
        planted_shards, "task={name: classification, target: sex}",
        "confounds={age: {column: age, kind: continuous}, decade: {column: age, kind: binned, bins: 3}}",
        "stages.1.method={name: joint, confounds: [site, age, decade]}", "stages.1.learning_rate=0.001",
    )  # fmt: skip
    _, last = run(config, tmp_path / "run")
    assert {"train/domain", "train/domain_age", "train/domain_decade", "train/joint"} <= set(last)
    stored = read_json(tmp_path / "run" / "unlearning" / "model" / "model.json")["confounds"]
    assert [(one["name"], one["kind"], one["outputs"]) for one in stored] == [
        ("site", "categorical", 3), ("age", "continuous", 1), ("decade", "binned", 3)
    ]  # fmt: skip


def apart(run_folder: Path, stage: str, sites: tuple[str, ...]) -> float:
    """How far the mean features of the training scans of some sites are from each other."""
    said = pd.read_csv(run_folder / stage / "predictions.tsv", sep="\t")
    there = ((said["split"] == "train") & said["site"].isin(sites)).to_numpy()
    with np.load(run_folder / stage / "features.npz") as stored:
        means = pd.DataFrame(stored["features"][there]).groupby(said["site"][there].to_numpy()).mean()
    return float((means - means.mean()).abs().max().max())


def test_what_is_erased_no_linear_map_tells(planted_shards: Path, tmp_path: Path) -> None:
    """After LEACE the mean features of every site are the same on the scans that it was fitted on; before, they differ."""
    config = tiny(planted_shards, "stages.1.method={name: erasure, keep: false}", "stages.1.learning_rate=0.01")
    run(config, tmp_path / "run")
    every = ("alpha", "beta", "gamma")
    assert apart(tmp_path / "run", "unlearning", every) < 1e-3 * apart(tmp_path / "run", "standard", every)


def test_a_site_that_is_held_out_is_not_erased(planted_shards: Path, tmp_path: Path) -> None:
    """Erasure is fitted on X_u: a site that is not in it stays as far from the others as it was, about."""
    erased = ("stages.1.method={name: erasure, keep: false}", "stages.1.learning_rate=0.01")
    run(tiny(planted_shards, "data.main.sites=[alpha, beta]", *erased), tmp_path / "run")
    inside = apart(tmp_path / "run", "unlearning", ("alpha", "beta"))
    assert inside < 1e-3 * apart(tmp_path / "run", "standard", ("alpha", "beta"))
    assert apart(tmp_path / "run", "unlearning", ("alpha", "gamma")) > 100 * inside
