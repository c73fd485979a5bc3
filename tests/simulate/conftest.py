"""One small study, made once, that the tests of the simulator look at."""

from pathlib import Path

import pytest

from distunlearn.simulate import Study, simulate

SMALL = Study(scans={"biobank": 50, "oasis": 60, "whitehall": 40}, travelling=10, voxel_mm=8, tissue_labels=True)


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three sites at 8 mm, with ten travelling people and true tissues."""
    out = tmp_path_factory.mktemp("small") / "study"
    assert simulate(out, SMALL, workers=1)
    return out
