"""From a plan to the batches of one rank: what is in them is the plan's business, when they are read is the loader's."""

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Int

from distunlearn.batch import Batch
from distunlearn.errors import UserError
from distunlearn.streaming.chosen import Chosen
from distunlearn.streaming.labels import Facts
from distunlearn.streaming.manifest import Study
from distunlearn.streaming.placement import POOLED, Placement
from distunlearn.streaming.plan import Plan
from distunlearn.streaming.prefetch import Buffers, Rows, in_bursts, read_ahead
from distunlearn.streaming.reader import open_reader

Role = TypeVar("Role", bound=str)

THREADS = 2
"""Each has a batch of its own in flight; more would cut batches into parts, and no disk that we had was faster for it."""
DEPTH = 2


@dataclass(frozen=True)
class Loader(Generic[Role]):
    """The batches of one rank, for every role of training.

    Raises:
        UserError: a role has scans of another split than train, or of people who are in another split of the study, or
            such as are prepared otherwise than the study's.
    """

    study: Study
    roles: Mapping[Role, tuple[Chosen, Plan]]
    rank: int = 0
    world_size: int = 1
    placement: Placement = POOLED
    target: tuple[str, ...] = ()
    """Labels that every batch carries, in this order."""
    threads: int = THREADS
    """Threads that read and check scans."""
    depth: int = DEPTH
    """Steps read ahead. A batch stays whole until the `depth`-th one after it is asked for."""

    def __post_init__(self) -> None:
        for role, (chosen, plan) in self.roles.items():
            self._refuse_held_out(role, chosen)
            if chosen.study.preprocessing_digest != self.study.preprocessing_digest:
                raise UserError(f"{role}: its scans were prepared otherwise than the study's; prepare both alike")
            if (chosen.counts, chosen.strata) != (plan.sizes, plan.strata):
                raise ValueError(f"{role}: the plan is not one of the chosen scans; make it with Chosen.plan")

    def _refuse_held_out(self, role: Role, chosen: Chosen) -> None:
        """Whoever chose them, and from whatever study: scans of people who are evaluated on are not trained on."""
        scans, ours = chosen.study.table.iloc[chosen.rows], self.study.table
        if other := sorted(set(scans["split"]) - {"train"}):
            raise UserError(
                f"{role}: it has scans of split {', '.join(other)}, and only split train is ever trained on; select from split train"
            )
        evaluated = scans["subject"].isin(ours["subject"][ours["split"] != "train"])
        if evaluated.any():
            raise UserError(
                f"{role}: {int(evaluated.sum())} of its scans are of people whom the study holds out for evaluation; leave them out, or put them into split train"
            )

    def batches(self, start: int, stop: int) -> Iterator[dict[Role, Batch]]:
        """This rank's batches of steps `start` to `stop`, by role.

        Starting at any step costs the same. Two roles with the same scans and the same plan share one batch, read once.
        The volumes of a batch are whole until `depth` further steps have been asked for; `Batch.to` copies them.

        Raises:
            UserError: a scan is damaged or missing; it is named, and nothing of its batch is yielded.
        """
        leaders = self._leaders()
        streams = {role: self._stream(role, start, stop) for role in dict.fromkeys(leaders.values())}
        try:
            for _ in range(start, stop):
                read = {role: next(stream) for role, stream in streams.items()}
                yield {role: read[leader] for role, leader in leaders.items()}
        finally:
            for stream in streams.values():
                stream.close()

    def rows(self, role: Role, step: int) -> Int[np.ndarray, " b"]:
        """Rows of the role's table that are this rank's in a step."""
        chosen, plan = self.roles[role]
        site, within = plan.samples(step)
        mine = self.placement.take(self.study.sites, site, self.rank, self.world_size)
        return chosen.locate(site[mine], within[mine])

    def digest(self) -> str:
        """Sixteen hex digits that all ranks must share before the first step.

        They cover the plans, the sites and how scans were prepared; and which scans there are, unless the ranks of a
        federated run hold different ones (`Placement.share` has then compared those of each site's hosts).
        """
        told: list[object] = [
            self.study.sites,
            self.study.preprocessing_digest,
            self.study.shape,
            self.target,
            self.placement.model_dump_json(),
        ]
        told += [(role, plan.digest()) for role, (_, plan) in self.roles.items()]
        if self.placement.kind == "pooled":
            told += [chosen.digest() for chosen, _ in self.roles.values()]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def _leaders(self) -> dict[Role, Role]:
        """For each role the first one that draws exactly the same."""
        leaders: dict[Role, Role] = {}
        for role, (chosen, plan) in self.roles.items():
            alike = (
                other for other in leaders if self.roles[other][1] == plan and self.roles[other][0].same_scans(chosen)
            )
            leaders[role] = next(alike, role)
        return leaders

    def _stream(self, role: Role, start: int, stop: int) -> Generator[Batch]:
        requests = (self.rows(role, step) for step in range(start, stop))
        return _batches(self.roles[role][0].study, requests, self.target, threads=self.threads, depth=self.depth)


def evaluation_batches(
    study: Study,
    rows: Int[np.ndarray, " n"],
    batch: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    target: tuple[str, ...] = (),
) -> Iterator[Batch]:
    """Every row once, in order: each rank has one run of rows, cut into batches; nothing is padded or repeated.

    In federated placement a study holds nothing but a rank's own rows, so that each rank asks for all of them with
    `world_size=1`.
    """
    share = np.array_split(rows, world_size)[rank]
    requests = (share[at : at + batch] for at in range(0, len(share), batch))
    return _batches(study, requests, target, threads=THREADS, depth=DEPTH)


def _batches(
    study: Study, requests: Iterable[Rows], target: tuple[str, ...], *, threads: int, depth: int
) -> Generator[Batch]:
    reader, buffers, facts = open_reader(study), Buffers(study, 2 * depth), Facts(study, target)
    known = ((rows, facts.of(rows)) for rows in requests)
    return read_ahead(reader, in_bursts(known), buffers, facts.batch, ahead=depth, threads=threads)
