"""From what was asked for to a suite: which sites take the places of the paper's, which seeds."""

from collections.abc import Mapping
from typing import Any

from distunlearn.config import RunConfig
from distunlearn.errors import UserError
from distunlearn.experiments import SUITES, Arena, Suite
from distunlearn.experiments.suite import SEED
from distunlearn.streaming.manifest import read_study

PLACES = {"table1": ("biobank", "oasis", "whitehall"), "table2": ("biobank", "oasis")}
"""Sites of the paper; any other suite takes all sites there are."""


def choose(name: str, base: RunConfig, *, sites: str | None, arena: Mapping[str, Any], seeds: int) -> Suite:
    """A suite on the base configuration's shards, with seeds from the configuration's on.

    Args:
        name: a key of SUITES.
        base: whose shards.
        sites: comma-separated; the paper's, or for suites that take any number all of the shards', if not given.
        arena: the other settings of `Arena`.
        seeds: how many.

    Raises:
        UserError: no such suite, sites that the shards do not hold, or seeds of the bar that share one split.
    """
    if name not in SUITES:
        raise UserError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    if name == "bar" and seeds > 1 and SEED not in base.shards:
        raise UserError(
            f"bar: several seeds need a split or a study each, so that their spread holds that over people; "
            f"give --shards a path with {SEED}, such as 'shards-{SEED}'"
        )
    there = read_study(base.shards.replace(SEED, str(base.seed))).sites
    wanted = tuple(part.strip() for part in sites.split(",")) if sites else PLACES.get(name, there)
    if unknown := [site for site in wanted if site not in there]:
        raise UserError(
            f"{name}: {', '.join(unknown)} is no site of {base.shards} (sites: {', '.join(there)}); name those to use with --sites"
        )
    played = Arena.read({**arena, "sites": wanted}, name)
    splits = range(base.seed, base.seed + (played.splits or 0))
    return SUITES[name](played).model_copy(
        update={"seeds": tuple(range(base.seed, base.seed + seeds)), "splits": tuple(splits)}
    )
