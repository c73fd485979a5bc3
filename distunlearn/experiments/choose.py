"""From what was asked for to a suite: which sites take the places of the paper's, which seeds."""

from distunlearn.config import RunConfig
from distunlearn.errors import UserError
from distunlearn.experiments import SUITES, Arena, Suite
from distunlearn.streaming.manifest import read_study

PLACES = {"table1": ("biobank", "oasis", "whitehall"), "table2": ("biobank", "oasis")}
"""Sites of the paper; any other suite takes all sites there are."""


def choose(name: str, base: RunConfig, *, sites: str | None, border: float, overlaps: str, seeds: int) -> Suite:
    """A suite on the base configuration's shards, with seeds from the configuration's on.

    Args:
        name: a key of SUITES.
        base: whose shards.
        sites: comma-separated; the paper's, or for suites that take any number all of the shards', if not given.
        border: see `Arena`.
        overlaps: comma-separated, see `Arena`.
        seeds: how many.

    Raises:
        UserError: no such suite, or sites that the shards do not hold.
    """
    if name not in SUITES:
        raise UserError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    there = read_study(base.shards).sites
    wanted = tuple(part.strip() for part in sites.split(",")) if sites else PLACES.get(name, there)
    if unknown := [site for site in wanted if site not in there]:
        raise UserError(
            f"{name}: {', '.join(unknown)} is no site of {base.shards} (sites: {', '.join(there)}); name those to use with --sites"
        )
    values = {"sites": wanted, "border": border, "overlaps": overlaps.split(",")}
    suite = SUITES[name](Arena.read(values, name))
    return suite.model_copy(update={"seeds": tuple(range(base.seed, base.seed + seeds))})
