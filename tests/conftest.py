"""Fixtures that several folders of tests share."""

import os
import shutil
from pathlib import Path

import pytest
from fabricated_run import write_run
from hypothesis import settings
from planted_study import write_drawn_shards, write_shards

# A machine that is busy is no failure: nothing is timed here.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def fabricated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three sites and two stages, `standard` (scanners 3 SD apart) and `unlearning` (no difference); read-only."""
    return write_run(tmp_path_factory.mktemp("runs") / "three_sites")


@pytest.fixture(scope="session")
def probed_run(fabricated_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `fabricated_run` with probes of both stages, in the quick form; read-only."""
    from distunlearn.probing.probe import probe_run

    run = tmp_path_factory.mktemp("probed") / "run"
    shutil.copytree(fabricated_run, run)
    probe_run(run, quick=True)
    return run


@pytest.fixture(scope="session")
def planted_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of three small sites whose voxels hold age and scanner; read-only."""
    return write_shards(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of two sites with 70 people each, of whom four tenths are for validation; read-only."""
    return write_shards(tmp_path_factory.mktemp("many"), sites={"alpha": 70, "beta": 70}, val=0.4)


@pytest.fixture(scope="session")
def drawn_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of two small sites in which three scans of four have a segmentation; read-only."""
    return write_drawn_shards(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def planted_run(planted_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two short stages on `planted_shards`, with models; read-only."""
    from tiny_run import tiny

    from distunlearn.engine.train import train

    run = tmp_path_factory.mktemp("planted_run") / "run"
    assert train(tiny(planted_shards), run)
    return run
