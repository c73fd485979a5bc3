"""Where scans may be read: anywhere (pooled), or each site's only on the ranks that host it (federated)."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from pydantic import Field, model_validator

from distunlearn.errors import UserError
from distunlearn.moments import Sum
from distunlearn.strict import Strict


class Placement(Strict):
    """Which rank reads which scans; what is trained on is the same."""

    kind: Literal["pooled", "federated"] = "pooled"
    """pooled: every rank reads a share of every site; federated: a rank opens only the files of the sites it hosts."""
    hosts: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Federated: the ranks that can read each site. Without it, rank 0 hosts the first site, rank 1 the second, …"""

    @model_validator(mode="after")
    def _hosts_are_federated(self) -> "Placement":
        if self.kind == "pooled" and self.hosts:
            raise ValueError("hosts are given, but kind is 'pooled'; set kind: federated")
        return self

    def hosts_of(self, sites: tuple[str, ...], world_size: int) -> tuple[tuple[int, ...], ...]:
        """The ranks that host each site, in the order of `sites`.

        Raises:
            UserError: a site has no host, a rank hosts nothing, or a rank or site does not exist.
        """
        hosts = self.hosts or {site: (rank,) for rank, site in enumerate(sites)}
        if unknown := sorted(set(hosts) - set(sites)):
            raise UserError(f"placement: {', '.join(unknown)} is no site of this run (sites: {', '.join(sites)})")
        if homeless := [site for site in sites if not hosts.get(site)]:
            raise UserError(f"placement: no rank hosts {', '.join(homeless)}; add it to hosts")
        named = {rank for ranks in hosts.values() for rank in ranks}
        if named != set(range(world_size)):
            raise UserError(
                f"placement: hosts name the ranks {sorted(named)}, but there are {world_size} processes; start one process a rank of hosts, each with a site"
            )
        return tuple(hosts[site] for site in sites)

    def hosted(self, sites: tuple[str, ...] | None, rank: int, world_size: int) -> tuple[str, ...] | None:
        """The sites that a rank may open, for `read_study(hosted=…)`; None when it may open all.

        Raises:
            UserError: as `hosts_of`; or federated without `sites`, since no rank can list them all.
        """
        if self.kind == "pooled":
            return None
        if sites is None:
            raise UserError(
                "placement: a federated run needs `sites`, in the same order on every rank; name them in the configuration"
            )
        return tuple(site for site, ranks in zip(sites, self.hosts_of(sites, world_size), strict=True) if rank in ranks)

    def take(
        self, sites: tuple[str, ...], slots: Int[np.ndarray, " B"], rank: int, world_size: int
    ) -> Bool[np.ndarray, " B"]:
        """Which slots of a global batch are a rank's.

        Args:
            sites: of the study.
            slots: the site index of each slot, site after site.
            rank: whose slots.
            world_size: of how many ranks.

        Returns:
            Pooled: slots are dealt like cards, so that ranks differ by at most one scan and a site with as many slots
            as there are ranks is on each. Federated: the slots of a site are dealt to its hosts.
        """
        if self.kind == "pooled":
            return np.asarray(np.arange(len(slots)) % world_size == rank)
        first = np.searchsorted(slots, slots)
        place = np.arange(len(slots)) - first
        hosts = self.hosts_of(sites, world_size)
        return np.array(
            [hosts[site][nth % len(hosts[site])] == rank for site, nth in zip(slots, place, strict=True)], dtype=bool
        )

    def share(
        self, sites: tuple[str, ...], rank: int, world_size: int, add_up: Sum
    ) -> Callable[[Int[np.ndarray, "N K"]], Int[np.ndarray, "N K"]]:
        """What `select(share=…)` needs: counts a site, completed over ranks by one sum of integers and nothing else.

        Raises (when it is called):
            UserError: two hosts of a site do not have the same scans.
        """
        if self.kind == "pooled":
            return lambda counts: counts
        first = np.array([ranks[0] == rank for ranks in self.hosts_of(sites, world_size)])
        mine = np.array([rank in ranks for ranks in self.hosts_of(sites, world_size)])

        def complete(counts: Int[np.ndarray, "N K"]) -> Int[np.ndarray, "N K"]:
            everywhere = add_up(torch.from_numpy(np.where(first[:, None], counts, 0))).cpu().numpy()
            if differing := [
                site
                for site, hosted, equal in zip(sites, mine, (everywhere == counts).all(axis=1), strict=True)
                if hosted and not equal
            ]:
                raise UserError(
                    f"site {', '.join(differing)}: its hosts do not have the same scans; give all of them the same shards"
                )
            return everywhere

        return complete


POOLED = Placement()
