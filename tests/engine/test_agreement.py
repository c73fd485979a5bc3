"""Ranks that would not train on the same plan stop before the first step."""

from pathlib import Path

import pytest
from ranks import on_ranks
from tiny_run import tiny

from distunlearn.engine.job import build
from distunlearn.engine.runtime import Runtime
from distunlearn.errors import UserError

pytestmark = pytest.mark.distributed

SETTINGS = {"one seed": "seed=7", "a seed each": "seed={rank}", "a batch size each": "data.batch=1{rank}"}


def build_or_refuse(rank: int, _: int, shards: Path) -> None:
    """Build the run with every pair of settings; only the same ones are accepted, and every rank says so."""
    for name, setting in SETTINGS.items():
        config = tiny(shards, setting.format(rank=rank))
        if name == "one seed":
            build(config, Runtime(config.engine))
            continue
        with pytest.raises(UserError, match="the ranks do not agree on the scans, their preparation and the plan"):
            build(config, Runtime(config.engine))


def test_ranks_compare_their_plans_before_the_first_step(planted_shards: Path) -> None:
    """Another seed or batch size on one rank draws other scans; both ranks refuse it while nothing is built yet."""
    on_ranks(2, build_or_refuse, planted_shards)
