"""The scans of step t as a pure integer function of counts, batch size, quota, seed and role.

Every global batch holds every site; smaller sites cycle more often; nothing here knows of ranks, workers or restarts.
The number of steps comes from counts, never from an exhausted iterator, so no rank can run dry before another.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from jaxtyping import Int

from distunlearn.errors import UserError
from distunlearn.streaming.draws import Order, Quota, apportion, composition, cycled, permutation, windowed

ALGORITHM = 1
"""Goes into the digest: a plan drawn in another way must not pass for this one."""


@dataclass(frozen=True)
class Plan:
    """Which scans are in the global batch of each step, for one role (X_p or X_u).

    A site with 0 scans is held out of the role. Sites are indices, scans are positions among the chosen ones of their
    site (`Chosen.locate` turns both into rows).

    Raises:
        UserError: the batch is smaller than the number of sites, or scans are to be matched and read in sequence.
    """

    sizes: tuple[int, ...]
    """Chosen scans a site."""
    batch: int
    """Scans in the global batch; with strata it is rounded down to a multiple of the number of sites."""
    seed: int
    role: str
    quota: Quota = "equal"
    """How the sites share a batch; with strata always equally."""
    strata: tuple[tuple[int, ...], ...] | None = None
    """`Chosen.strata`: in every batch each site has the same number of scans of each stratum."""
    shards: tuple[tuple[int, ...], ...] | None = None
    """`Chosen.shards`, for sources that can only be read in sequence: draws stay within `window` shards of a site."""
    window: int = 2

    def __post_init__(self) -> None:
        sites = len(self._sites)
        if not sites:
            raise UserError(f"{self.role}: there is no scan to train on; loosen the selection")
        if self.batch < sites:
            raise UserError(
                f"{self.role}: a batch of {self.batch} cannot hold each of {sites} sites; set the batch size to {sites} or more"
            )
        if self.strata and self.shards:
            raise UserError(
                f"{self.role}: scans that are read in sequence cannot be matched; copy the shards to a disk, or choose rule overlap"
            )

    @cached_property
    def _sites(self) -> list[int]:
        return [site for site, size in enumerate(self.sizes) if size]

    @property
    def steps_per_epoch(self) -> int:
        """The fewest steps from step 0 on in which every site draws as many scans as it has."""
        sizes, turn = np.asarray(self.sizes), len(self._sites)
        mean = self.drawn_before(turn)[self._sites] / turn
        # Sites take turns in a composition, so that one can be ahead of its mean by less than a turn.
        steps = max(int(np.ceil(sizes[self._sites] / mean).max()) - turn, 1)
        while (self.drawn_before(steps) < sizes).any():
            steps += 1
        return steps

    def counts(self, step: int) -> Int[np.ndarray, " N"]:
        """S_n of eq. (1): scans of each site in the global batch of a step."""
        return self._turns(step)[0]

    def drawn_before(self, step: int) -> Int[np.ndarray, " N"]:
        """Scans of each site drawn before a step, in O(1)."""
        return self._turns(step)[1]

    def samples(self, step: int) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """The global batch of a step, site after site: (site index, position within the site's chosen scans)."""
        here, before = self._turns(step)
        if self.strata:
            within = [self._matched(site, step) for site in self._sites]
        else:
            within = [
                cycled(self._key(site), self.sizes[site], int(before[site]), int(here[site]), self._order(site))
                for site in self._sites
            ]
        return np.repeat(np.arange(len(self.sizes)), here), np.concatenate(within)

    def digest(self) -> str:
        """Sixteen hex digits; plans that share them draw the same scans at every step.

        In what order a site's shards come is left out: in federated placement only its hosts know its shards.
        """
        told = (
            ALGORITHM,
            self.sizes,
            self.batch,
            self.seed,
            self.role,
            self.quota,
            self.strata,
            self.shards and self.window,
        )
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def _key(self, *parts: object) -> str:
        return "/".join(map(str, (self.seed, self.role, *parts)))

    def _order(self, site: int) -> Order | None:
        shards = self.shards[site] if self.shards else ()
        return partial(windowed, shards=shards, window=self.window) if shards else None

    def _turns(self, step: int) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """Scans of each site in a step, and before it.

        Sites take turns in a composition: in N consecutive steps it is rotated once around, so that each site has drawn
        exactly `batch` scans after every N steps whatever the composition was. A proportional one stays as it is.
        """
        sites = self._sites
        n = len(sites)
        here, before = np.zeros((2, len(self.sizes)), dtype=np.int64)
        turn, place = divmod(step, n)
        if self.strata:
            here[sites], before[sites] = self.batch // n, self.batch // n * step
            return here, before
        first = composition(self.quota, np.asarray(self.sizes)[sites], self.batch, self._key("composition", turn))
        if self.quota == "proportional":
            here[sites], before[sites] = first, first * step
        else:
            # Rotated by k, the composition is n values of its double from n - k on; running sums give those before.
            double = np.concatenate([first, first])
            sums = np.concatenate([[0], np.cumsum(double)])
            here[sites] = double[n - place : 2 * n - place]
            before[sites] = turn * self.batch + sums[n + 1 :] - sums[n + 1 - place : 2 * n + 1 - place]
        return here, before

    @cached_property
    def _stratum_cycle(self) -> Int[np.ndarray, " M"]:
        """How often each stratum comes in a cycle of draws that all sites share.

        In proportion to what the sites have in common, the smallest of their shares of it, so that no site has to
        repeat a few scans for the sake of another that has many there.
        """
        held = np.asarray(self.strata)[self._sites]
        common = (held / held.sum(axis=1, keepdims=True)).min(axis=0)
        return np.repeat(np.arange(len(common)), apportion(common, max(len(common), int(held.sum(axis=1).min()))))

    def _matched(self, site: int, step: int) -> Int[np.ndarray, " q"]:
        """A site's positions in a step: the strata are drawn for all sites alike, the scans within them a site."""
        assert self.strata
        each, cycle = self.batch // len(self._sites), self._stratum_cycle
        strata = len(self.strata[site])
        drawn = np.bincount(cycle[cycled(self._key("strata"), len(cycle), step * each, each)], minlength=strata)
        turn, place = divmod(step * each, len(cycle))
        earlier = cycle[permutation(f"{self._key('strata')}/{turn}", len(cycle))[:place]]
        before = np.bincount(cycle, minlength=strata) * turn + np.bincount(earlier, minlength=strata)
        starts = np.cumsum(self.strata[site]) - np.asarray(self.strata[site])
        return np.concatenate([
            starts[k] + cycled(self._key(site, k), self.strata[site][k], int(before[k]), int(drawn[k])) for k in np.flatnonzero(drawn)
        ])  # fmt: skip
