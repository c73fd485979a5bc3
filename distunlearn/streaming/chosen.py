"""The scans of one role: which rows of the study's table, and how many of each site there are over all ranks."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from jaxtyping import Int

from distunlearn.streaming.draws import Quota
from distunlearn.streaming.manifest import Study
from distunlearn.streaming.plan import Plan


@dataclass(frozen=True, eq=False)
class Chosen:
    """What `select` chose."""

    study: Study
    rows: Int[np.ndarray, " n"]
    """Rows of `study.table`: site after site, and within a site stratum after stratum, else as they lie in the shards."""
    counts: tuple[int, ...]
    """Scans a site of `study.sites`, over all ranks; 0 for a site that is held out."""
    strata: tuple[tuple[int, ...], ...] | None
    """Rule `matched`: scans of each site in each stratum of the label."""
    description: tuple[str, ...]
    """One line a site, for people."""
    warnings: tuple[str, ...]

    @property
    def domain(self) -> Int[np.ndarray, " n"]:
        """The site index of each row."""
        every: Int[np.ndarray, " rows"] = self.study.table["domain"].to_numpy()
        return np.take(every, self.rows)

    @property
    def shards(self) -> tuple[tuple[int, ...], ...]:
        """Chosen scans in each shard of each site, in the order of `rows`; of a site that is not hosted here, none."""
        held: list[list[int]] = [[] for _ in self.counts]
        for (site, _), scans in groupby(
            zip(self.domain.tolist(), self.study.table["shard"].iloc[self.rows], strict=True)
        ):
            held[site].append(len(list(scans)))
        return tuple(map(tuple, held))

    def locate(self, site: Int[np.ndarray, " k"], within: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
        """Rows of the table for what a plan names: the `within`-th chosen scan of each `site`, all hosted here."""
        return np.asarray(self.rows[self._starts[site] + within])

    @cached_property
    def _starts(self) -> Int[np.ndarray, " N"]:
        held = np.bincount(self.domain, minlength=len(self.counts))
        return np.cumsum(held) - held

    def plan(self, batch: int, *, seed: int, role: str, quota: Quota = "equal") -> Plan:
        """The plan that draws these scans, matched and in sequence where they are chosen and read so."""
        access = self.study.access
        return Plan(
            self.counts,
            batch,
            seed,
            role,
            quota,
            strata=self.strata,
            shards=self.shards if access.stream else None,
            window=access.window,
        )

    def same_scans(self, other: "Chosen") -> bool:
        """Whether the other role has exactly the same scans in the same order."""
        return self is other or (self.study is other.study and np.array_equal(self.rows, other.rows))

    def digest(self) -> str:
        """Sixteen hex digits that two ranks share when they hold the same scans in the same order."""
        return keys_digest(self.study, self.rows)


def keys_digest(study: Study, rows: Int[np.ndarray, " n"]) -> str:
    """Sixteen hex digits of the shards, keys and contents of scans, in order."""
    told = study.table[["shard", "key", "xxh3"]].iloc[rows]
    return hashlib.sha256("\n".join(told["shard"] + " " + told["key"] + " " + told["xxh3"]).encode()).hexdigest()[:16]
