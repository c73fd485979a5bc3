"""What this rank may read of a study, and what ranks tell each other of the rest: sums and counts, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from distunlearn.batch import Batch
from distunlearn.config import RunConfig
from distunlearn.engine.losses import LOSSES
from distunlearn.engine.runtime import Runtime
from distunlearn.errors import UserError
from distunlearn.evaluate.model import target_ranges
from distunlearn.methods import phases_of
from distunlearn.moments import moments
from distunlearn.streaming.chosen import Chosen
from distunlearn.streaming.loader import evaluation_batches
from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.placement import Placement
from distunlearn.streaming.select import Share

FEWEST = 5
"""Sums over fewer scans of a site would tell of single people, and do not leave a rank of a federated run."""


@dataclass(frozen=True)
class Hosting:
    """One rank's view of a study. In pooled placement it sees all scans, and sums over ranks are what it has itself."""

    runtime: Runtime
    placement: Placement
    study: Study

    @classmethod
    def read(cls, config: RunConfig, runtime: Runtime) -> "Hosting":
        """Open the manifests of the sites that this rank hosts, and no file of any other.

        Raises:
            UserError: shards or placement that do not fit, or a method that would send features between sites.
        """
        _refuse_pairs(config)
        placement = config.data.placement
        hosted = placement.hosted(config.sites, runtime.rank, runtime.world_size)
        study = read_study(config.shards, config.sites, hosted=hosted, access=config.data.access)
        return cls(runtime, placement, study)

    @property
    def federated(self) -> bool:
        """Whether ranks see different scans."""
        return self.placement.kind == "federated"

    @cached_property
    def share(self) -> Share:
        """For `select`: counts of the sites that are hosted elsewhere."""
        return self.placement.share(self.study.sites, self.runtime.rank, self.runtime.world_size, self.add_up)

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over ranks that see different scans."""
        return self.runtime.sum(values.to(self.runtime.device)).to(values.device) if self.federated else values

    def first(self, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
        """The rows whose figures this rank adds to a sum: those of the sites of which it is the first host."""
        if not self.federated:
            return rows
        hosts = self.placement.hosts_of(self.study.sites, self.runtime.world_size)
        mine = np.array([ranks[0] == self.runtime.rank for ranks in hosts])
        return np.asarray(rows[mine[self.study.table["domain"].to_numpy()[rows]]])

    def ranges(self, target: Float[Tensor, "n T"], names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
        """Where a prediction is no extrapolation: least to greatest value of each target.

        Federated: mean ± 2 sd, because the least and the greatest are the values of two people.
        """
        if not self.federated:
            return target_ranges(target, names)
        mean, sd = moments(target, self.add_up)
        bounds = zip((mean - 2 * sd).tolist(), (mean + 2 * sd).tolist(), strict=True)
        return dict(zip(names, bounds, strict=True))

    def evaluation(self, rows: Int[np.ndarray, " n"], batch: int, labels: tuple[str, ...]) -> Iterator[Batch]:
        """This rank's share of rows, each once over all ranks."""
        rank, world_size = self.runtime.rank, self.runtime.world_size
        if self.federated:
            slots = self.study.table["domain"].to_numpy()[rows]
            rows, rank, world_size = rows[self.placement.take(self.study.sites, slots, rank, world_size)], 0, 1
        return evaluation_batches(self.study, rows, batch, rank=rank, world_size=world_size, target=labels)

    def speakable(self, sums: Float[Tensor, "K N"]) -> Float[Tensor, "K N"]:
        """Sums a site, with counts in the last row, as they may leave this rank."""
        return sums * (sums[-1] >= FEWEST) if self.federated else sums

    def own_folder(self, run: Path) -> Path:
        """Where this rank writes what it knows of single scans: the run folder, or federated RUN/rank-NUMBER."""
        return run / f"rank-{self.runtime.rank}" if self.federated else run

    def refuse_few(self, chosen: Chosen) -> None:
        """Refuse to train over ranks on so few scans of a site that their sums tell of single people.

        Raises:
            UserError: on every rank, naming the site.
        """
        few = [site for site, count in zip(self.study.sites, chosen.counts, strict=True) if 0 < count < FEWEST]
        if self.federated and few:
            raise UserError(
                f"site {', '.join(few)}: fewer than {FEWEST} scans, whose sums would tell other sites of single people; leave the site out"
            )


def _refuse_pairs(config: RunConfig) -> None:
    if config.data.placement.kind == "pooled":
        return
    for stage in config.stages:
        if stage.choose == "scanner":
            raise UserError(
                f"stage {stage.name!r}: choose=scanner probes features of all sites in one place, and federated features stay at their site; use error or last"
            )
        pairs = any(LOSSES[term.loss].reads == "features" for phase in phases_of(stage.method) for term in phase.terms)
        if pairs and getattr(stage.method, "share", "nothing") != "features":
            raise UserError(
                f"stage {stage.name!r}: method {stage.method.name} compares scans of different sites, so that features would leave them; "
                "allow it with method.share: features, or take unlearning, whose losses are sums over scans"
            )
