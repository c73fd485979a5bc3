"""From a plan to the batches of one rank: what is in them is the plan's business, when they are read is the loader's."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from distunlearn.batch import Batch
from distunlearn.errors import UserError
from distunlearn.streaming.manifest import Study
from distunlearn.streaming.plan import Plan
from distunlearn.streaming.prefetch import Buffers, read_ahead
from distunlearn.streaming.reader import IndexReader
from distunlearn.streaming.select import Chosen

Role = TypeVar("Role", bound=str)

THREADS = 4
DEPTH = 2


@dataclass(frozen=True)
class Loader(Generic[Role]):
    """The batches of one rank, for every role of training.

    Raises:
        UserError: a role's scans are not of split train, or are prepared otherwise than the study's.
    """

    study: Study
    roles: Mapping[Role, tuple[Chosen, Plan]]
    rank: int = 0
    world_size: int = 1
    target: tuple[str, ...] = ()
    """Labels that every batch carries, in this order."""
    threads: int = THREADS
    """Threads that read and check scans."""
    depth: int = DEPTH
    """Steps read ahead. A batch stays whole until the `depth`-th one after it is asked for."""

    def __post_init__(self) -> None:
        for role, (chosen, plan) in self.roles.items():
            if chosen.split != "train":
                raise UserError(
                    f"{role}: its scans are of split {chosen.split}, and only split train is ever trained on; select from split train"
                )
            if chosen.study.preprocessing_digest != self.study.preprocessing_digest:
                raise UserError(f"{role}: its scans were prepared otherwise than the study's; prepare both alike")
            if chosen.counts != plan.sizes:
                raise ValueError(f"{role}: the plan is for {plan.sizes} scans a site, chosen are {chosen.counts}")

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
        return chosen.locate(*plan.rank_slice(step, self.rank, self.world_size))

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
        study = self.roles[role][0].study
        requests = [self.rows(role, step) for step in range(start, stop)]
        return _batches(study, requests, self.target, threads=self.threads, depth=self.depth)


def evaluation_batches(
    study: Study,
    rows: Int[np.ndarray, " n"],
    batch: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    target: tuple[str, ...] = (),
) -> Iterator[Batch]:
    """Every row once, in order: each rank has one run of rows, cut into batches; nothing is padded or repeated."""
    share = np.array_split(rows, world_size)[rank]
    return _batches(
        study, [share[at : at + batch] for at in range(0, len(share), batch)], target, threads=THREADS, depth=DEPTH
    )


def _batches(
    study: Study, requests: list[Int[np.ndarray, " _"]], target: tuple[str, ...], *, threads: int, depth: int
) -> Generator[Batch]:
    buffers = Buffers(study, 2 * depth)
    facts = _Facts(study, target)
    volumes = read_ahead(IndexReader(study), requests, buffers, ahead=depth, threads=threads)
    for rows, volume in zip(requests, volumes, strict=True):
        yield facts.batch(rows, volume)


class _Facts:
    """What the table knows of each scan, as arrays."""

    def __init__(self, study: Study, target: tuple[str, ...]) -> None:
        self._scale = study.table["scale"].to_numpy().astype(np.float32)
        self._domain = study.table["domain"].to_numpy().astype(np.int64)
        self._target = np.stack(
            [label_numbers(study, name) for name in target] or [np.empty(len(study.table), np.float32)], axis=1
        )[:, : len(target)]

    def batch(self, rows: Int[np.ndarray, " b"], volume: Tensor) -> Batch:
        scale, domain, target = (torch.from_numpy(values[rows]) for values in (self._scale, self._domain, self._target))
        return Batch(volume=volume, scale=scale, scan=torch.from_numpy(rows), domain=domain, target=target)


def label_numbers(study: Study, name: str) -> Float[np.ndarray, " rows"]:
    """A label of every scan as float32, NaN where missing; text becomes the index of the value among all, sorted.

    Raises:
        UserError: no site has the label.
    """
    if name not in study.labels:
        raise UserError(f"target: no scan has the label {name!r} (known: {', '.join(study.labels)})")
    values = study.table[name]
    if values.dtype == np.float64:
        return values.to_numpy(dtype=np.float32)
    codes = {value: index for index, value in enumerate(sorted(values.dropna().unique()))}
    return values.map(codes).to_numpy(dtype=np.float32)
