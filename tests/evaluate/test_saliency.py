"""Pictures of a site's scans and of where the network looks: right, and of nobody in particular."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import tiny

from distunlearn.engine.train import train
from distunlearn.evaluate.model import Model, load_model
from distunlearn.evaluate.rerun import picture
from distunlearn.evaluate.saliency import read_pictures, sensitivity, write_pictures
from distunlearn.streaming.loader import evaluation_batches
from distunlearn.streaming.manifest import Study, read_study

STAGE = "standard"


@pytest.fixture(scope="module")
def run(many_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short stage on two sites with more than ten test people each."""
    folder = tmp_path_factory.mktemp("pictures") / "run"
    config = tiny(many_shards)
    train(config.model_copy(update={"stages": config.stages[:1]}), folder)
    return folder


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    """Its model."""
    return load_model(run / STAGE / "model")


@pytest.fixture(scope="module")
def study(many_shards: Path) -> Study:
    """Its scans."""
    return read_study(many_shards)


def scans(study: Study, rows: np.ndarray) -> torch.Tensor:
    """Volumes as the network gets them."""
    return torch.cat([batch.to("cpu").volume for batch in evaluation_batches(study, rows, 8)])


def predicted(model: Model, volume: torch.Tensor) -> torch.Tensor:
    """Ages of scans."""
    return model.task.predict(model(volume)[0])[:, 0]


def test_the_sensitivity_is_the_change_of_the_prediction(model: Model, study: Study) -> None:
    """At the most sensitive voxels it is the finite difference, and one scan's does not depend on its neighbours'."""
    volume = scans(study, np.arange(4))
    found = sensitivity(model, volume)
    assert torch.allclose(sensitivity(model, volume[1:2]), found[1:2], atol=1e-6)
    for flat in found[1].flatten().topk(3).indices:
        step = torch.zeros_like(volume[1]).flatten()
        step[flat] = 0.01
        step = step.reshape(1, *volume.shape[1:])
        change = (predicted(model, volume[1:2] + step) - predicted(model, volume[1:2] - step)).abs() / 0.02
        assert change.item() == pytest.approx(found[1].flatten()[flat].item(), rel=0.05)


def test_the_picture_of_a_site_is_the_mean_of_its_test_people(run: Path, model: Model, study: Study) -> None:
    """Slice for slice, with the number of people; nothing else is stored."""
    assert picture(run, STAGE) == run / STAGE / "pictures.npz"
    found = read_pictures(run / STAGE)
    assert found is not None
    assert found.sites == ("alpha", "beta")
    assert found.scan.shape == found.saliency.shape == (2, 8, 8)
    rows = np.flatnonzero((study.table["site"] == "beta") & (study.table["split"] == "test"))
    volume = scans(study, rows)
    assert found.people[1] == len(rows) >= 10
    assert np.allclose(found.scan[1], volume[:, 0, :, :, 2].mean(dim=0), atol=1e-5)
    assert np.allclose(found.saliency[1], sensitivity(model, volume)[:, 0, :, :, 2].mean(dim=0), atol=1e-5)


def test_of_few_people_there_is_no_picture(planted_run: Path, planted_shards: Path, tmp_path: Path) -> None:
    """A mean over fewer than ten is not written: it would show single heads."""
    small = load_model(planted_run / STAGE / "model")
    assert write_pictures(tmp_path, small, read_study(planted_shards, ["beta", "gamma"])) is None
    assert read_pictures(tmp_path) is None
