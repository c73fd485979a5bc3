"""The scans of step t as a pure integer function of counts, batch size, quota, seed and role.

Every global batch holds every site; smaller sites cycle more often; nothing here knows of ranks, workers or restarts
but the slice that a rank takes. The number of steps comes from counts, so no rank can run dry before another.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from distunlearn.errors import UserError
from distunlearn.streaming.draws import Quota, composition, cycled

ALGORITHM = 1
"""Goes into the digest: a plan drawn in another way must not pass for this one."""


@dataclass(frozen=True)
class Plan:
    """Which scans are in the global batch of each step, for one role (X_p or X_u).

    A site with 0 scans is held out of the role. Sites are indices, scans are positions among the chosen ones of their
    site (`Chosen.locate` turns both into rows).

    Raises:
        UserError: the batch is smaller than the number of sites.
    """

    sizes: tuple[int, ...]
    """Chosen scans a site."""
    batch: int
    """Scans in the global batch."""
    seed: int
    role: str
    quota: Quota = "equal"

    def __post_init__(self) -> None:
        sites = len(self._sites)
        if not sites:
            raise UserError(f"{self.role}: there is no scan to train on; loosen the selection")
        if self.batch < sites:
            raise UserError(
                f"{self.role}: a batch of {self.batch} cannot hold each of {sites} sites; set the batch size to {sites} or more"
            )

    @property
    def _sites(self) -> Int[np.ndarray, " A"]:
        return np.flatnonzero(np.asarray(self.sizes))

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every scan of every site has been drawn once, counted from step 0."""
        sizes = np.asarray(self.sizes)
        turn = len(self._sites)
        steps = int(np.ceil(sizes[self._sites] * turn / self.drawn_before(turn)[self._sites]).max())
        # Rotating remainders can leave a site a scan short there; a turn of all sites makes up for it.
        while (self.drawn_before(steps) < sizes).any():
            steps += 1
        return steps

    def drawn_before(self, step: int) -> Int[np.ndarray, " N"]:
        """Scans of each site drawn before a step, in O(1)."""
        return self._turns(step)[1]

    def counts(self, step: int) -> Int[np.ndarray, " N"]:
        """S_n of eq. (1): scans of each site in the global batch of a step."""
        return self._turns(step)[0]

    def samples(self, step: int) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """The global batch of a step, site after site: (site index, position within the site's chosen scans)."""
        here, before = self._turns(step)
        drawn = [
            cycled(f"{self.seed}/{self.role}/{site}", self.sizes[site], int(before[site]), int(here[site]))
            for site in self._sites
        ]
        return np.repeat(np.arange(len(self.sizes)), here), np.concatenate(drawn)

    def rank_slice(self, step: int, rank: int, world: int) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
        """What one of `world` equal ranks takes of `samples`: dealt like cards, site after site.

        So ranks differ by at most one scan, and a site with at least `world` scans in the batch is on every rank.
        """
        site, within = self.samples(step)
        return site[rank::world], within[rank::world]

    def digest(self) -> str:
        """Sixteen hex digits; two plans that share them draw the same scans at every step."""
        told = f"{ALGORITHM}/{self.sizes}/{self.batch}/{self.seed}/{self.role}/{self.quota}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _turns(self, step: int) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """Scans of each site in a step, and before it.

        Sites take turns in a composition: in N consecutive steps it is rotated once around, so that each site has drawn
        exactly `batch` scans after every N steps whatever the composition was. A proportional one stays as it is.
        """
        sites = self._sites
        n = len(sites)
        turn, place = divmod(step, n)
        first = composition(
            self.quota, np.asarray(self.sizes)[sites], self.batch, f"{self.seed}/{self.role}/composition/{turn}"
        )
        here, before = np.zeros((2, len(self.sizes)), dtype=np.int64)
        if self.quota == "proportional":
            here[sites], before[sites] = first, first * step
        else:
            rotated = np.stack([np.roll(first, shift) for shift in range(n)])
            here[sites], before[sites] = rotated[place], turn * self.batch + rotated[:place].sum(axis=0)
        return here, before
