"""ComBat on features, for comparison; needs the package combatlearn."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distunlearn.errors import UserError
from distunlearn.probing.combat import harmonise_features


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A stage of two sites whose features differ by a shift that is not age."""
    rng, folder = np.random.default_rng(0), tmp_path / "standard"
    folder.mkdir()
    site = np.repeat(["a", "b"], 60)
    age = rng.uniform(20, 80, 120)
    features = np.stack([age, rng.normal(size=120)], axis=1) + 100.0 * (site == "b")[:, None]
    split = np.where(np.arange(120) % 3, "train", "test")
    keys = [f"k{number:03d}" for number in range(120)]
    columns = {"key": keys, "site": site, "split": split, "subject": keys, "target": age, "prediction": age}
    pd.DataFrame(columns).to_csv(folder / "predictions.tsv", sep="\t", index=False)
    np.savez(folder / "features.npz", key=np.array(keys), features=features)
    return folder


def test_sites_are_brought_together_and_the_target_predicted_again(stage: Path) -> None:
    """On scans that ComBat was not fitted on, the sites' means agree, and age is still there."""
    pytest.importorskip("combatlearn")
    folder = harmonise_features(stage)
    said = pd.read_csv(folder / "predictions.tsv", sep="\t")
    test = (said["split"] == "test").to_numpy()
    with np.load(folder / "features.npz") as stored:
        features = pd.DataFrame(stored["features"][test])
    apart = features.groupby(said["site"][test].to_numpy()).mean().diff().abs().iloc[1]
    assert apart.max() < 15, "100 before"
    assert (said["prediction"] - said["target"])[test].abs().mean() < 8


def test_the_missing_package_is_named(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to install."""
    monkeypatch.setitem(sys.modules, "combatlearn", None)
    with pytest.raises(UserError, match="pip install combatlearn"):
        harmonise_features(stage)
