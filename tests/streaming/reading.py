"""What the tests of several readers share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distunlearn.errors import UserError
from distunlearn.streaming.loader import Loader
from distunlearn.streaming.manifest import Study
from distunlearn.streaming.reader import open_reader
from distunlearn.streaming.select import select
from distunlearn.streaming.selection import Selection


def loader(study: Study, batch: int, **options: Any) -> Loader[str]:
    """A loader of all training scans in one role."""
    chosen = select(study, Selection(), split="train")
    return Loader(study, {"main": (chosen, chosen.plan(batch, seed=0, role="main"))}, **options)


def read_first(study: Study) -> None:
    """Read the first scan of a study anew."""
    open_reader(study).read(np.array([0]), np.empty((1, *study.shape), dtype=np.int16))


def damage_is_named(study: Study, folder: Path) -> Path:
    """Change a byte of a study's first scan, then cut its shard within it: either is named with site, shard and scan.

    Returns:
        The damaged shard.
    """
    scan = study.table.iloc[0]
    shard = folder / scan["site"] / scan["shard"]
    content = bytearray(shard.read_bytes())
    content[scan["offset"]] ^= 1
    for damaged, message in (
        (content, "its bytes are not those"),
        (content[: scan["offset"] + 9], "the shard ends before it"),
    ):
        shard.write_bytes(damaged)
        with pytest.raises(
            UserError, match=rf"site {scan['site']}: scan {scan['key']} in shard {scan['shard']}: {message}"
        ):
            read_first(study)
    return shard
