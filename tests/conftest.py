"""Fixtures that several folders of tests share."""

from pathlib import Path

import pytest
from fabricated_run import write_run
from planted_study import write_shards


@pytest.fixture(scope="session")
def fabricated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three sites and two stages, `standard` (scanners 3 SD apart) and `unlearning` (no difference); read-only."""
    return write_run(tmp_path_factory.mktemp("runs") / "three_sites")


@pytest.fixture(scope="session")
def planted_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of three small sites whose voxels hold age and scanner; read-only."""
    return write_shards(tmp_path_factory.mktemp("planted"))
