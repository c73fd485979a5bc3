"""Whole runs of what the scheme can be beside age and site: segmentation, classification, other confounds, erasure."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from tiny_run import tiny

from distunlearn.config import RunConfig
from distunlearn.engine.job import build
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.train import train
from distunlearn.errors import UserError
from distunlearn.prepare import PrepareConfig, shard


def run(config: RunConfig, folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train; the predictions and the last figures of the last stage."""
    train(config, folder)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return pd.read_csv(folder / "unlearning" / "predictions.tsv", sep="\t"), last


@pytest.fixture(scope="module")
def drawn_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites of brains with a ventricle that is drawn, but for every fourth scan."""
    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(-1, 1, 12) for _ in range(3)), indexing="ij")
    radius, rows = np.sqrt(sum(axis**2 for axis in axes)), []
    for number in range(40):
        site, subject = "ab"[number % 2], f"sub-{number:02d}"
        inner = radius < rng.uniform(0.3, 0.6)
        voxels = 100.0 * (radius < 0.9) - (90 - 30 * (site == "b")) * inner + rng.normal(0, 3, radius.shape)
        anat = folder / "bids" / subject / "anat"
        anat.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), np.eye(4)), anat / f"{subject}_T1w.nii.gz")
        if number % 8 > 1:
            nib.save(nib.Nifti1Image((3 * inner).astype(np.uint8), np.eye(4)), anat / f"{subject}_dseg.nii.gz")
        rows.append([subject, site, f"{rng.uniform(20, 80):.1f}", "FM"[number % 3 == 0]])
    table = pd.DataFrame(rows, columns=["participant_id", "site", "age", "sex"])
    table.to_csv(folder / "bids" / "participants.tsv", sep="\t", index=False)
    config = PrepareConfig.read(
        {
            "segmentation": "dseg",
            "site_column": "site",
            "workers": 1,
            "val": 0.3,
            "preprocessing": {"size": [8, 8, 8], "keep_every": 2},
        },
        "test",
    )
    shard([folder / "bids"], folder / "shards", config)
    return folder / "shards"


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
    """Probabilities of the classes add up to one; the likeliest is the prediction."""
    task = "task={name: classification, target: sex, class_weights: balanced}"
    said, last = run(tiny(drawn_shards, task, "data.batch=8"), tmp_path / "run")
    assert 0 <= last["val/error_rate/a"] <= 1
    assert np.allclose(said["probability_F"] + said["probability_M"], 1, atol=1e-3)
    assert ((said["probability_M"] > 0.5) == (said["prediction"] == 1)).all()
    assert set(zip(said["sex"], said["target"], strict=True)) == {("F", 0), ("M", 1)}


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


def test_a_site_without_labels_takes_part_in_unlearning_only(planted_shards: Path, tmp_path: Path) -> None:
    """A third site is in X_u and not in X_p, and its features are written for the probes."""
    config = tiny(planted_shards, "data.main.sites=[alpha, beta]", "data.unlearn.among=study")
    said, _ = run(config, tmp_path / "run")
    scans = pd.read_csv(tmp_path / "run" / "scans.tsv", sep="\t").groupby("site")[["main", "unlearn"]].sum()
    assert scans.loc["gamma", "main"] == 0 < scans.loc["gamma", "unlearn"]
    assert set(said["site"]) == {"alpha", "beta", "gamma"}


def test_what_is_erased_no_linear_map_tells(planted_shards: Path, tmp_path: Path) -> None:
    """After LEACE the mean features of every site are the same on the scans that it was fitted on; before, they differ."""
    config = tiny(planted_shards, "stages.1.method={name: erasure, keep: false}", "stages.1.learning_rate=0.01")
    said, _ = run(config, tmp_path / "run")
    train_scans = (said["split"] == "train").to_numpy()
    apart = {}
    for stage in ("standard", "unlearning"):
        with np.load(tmp_path / "run" / stage / "features.npz") as stored:
            features = pd.DataFrame(stored["features"][train_scans])
        means = features.groupby(said["site"][train_scans].to_numpy()).mean()
        apart[stage] = float((means - features.mean()).abs().max().max())
    assert apart["unlearning"] < 1e-3 * apart["standard"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("engine.pieces=2",), "cannot be cut"),
        (("task={name: segmentation}",), "no scan has a segmentation|name a label|is left by rule"),
    ],
)
def test_what_an_alignment_cannot_do_is_refused(planted_shards: Path, settings: tuple[str, ...], words: str) -> None:
    """In one line, before training."""
    config = tiny(planted_shards, "stages.1.method={name: alignment}", "stages.1.learning_rate=0.001", *settings)
    with pytest.raises(UserError, match=words):
        build(config, Runtime(config.engine))
