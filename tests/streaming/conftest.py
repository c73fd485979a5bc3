"""Studies for the tests of this folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from written_study import write_site


@pytest.fixture
def study_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write sites of the given train ages (or splits of ages) and give the folder that holds them."""

    def write(**sites: Any) -> Path:
        for site, ages in sites.items():
            splits = ages if isinstance(ages, dict) else {"train": ages, "test": [50.0, 60.0]}
            write_site(tmp_path / "shards", site, splits)
        return tmp_path / "shards"

    return write
