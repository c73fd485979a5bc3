"""Everything that a run needs before its first step: scans, plan, loader and network, built from the configuration."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from distunlearn.batch import Batch
from distunlearn.config import RunConfig
from distunlearn.engine.building import build_network
from distunlearn.engine.hosting import Hosting
from distunlearn.engine.network import Network, unwrapped
from distunlearn.engine.refuse import refuse_alignments
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.share import RoleBatch, StepBatch
from distunlearn.evaluate.model import Model, ModelCard
from distunlearn.methods import SITE, Role, phases_of, role_of
from distunlearn.streaming.chosen import Chosen
from distunlearn.streaming.drawn import SEGMENTATION
from distunlearn.streaming.loader import Loader
from distunlearn.streaming.manifest import Study
from distunlearn.streaming.plan import Plan
from distunlearn.streaming.select import select
from distunlearn.streaming.transfer import on_device
from distunlearn.tracking import check_metric_names

EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Job:
    """A run, ready to take its first step."""

    config: RunConfig
    runtime: Runtime
    hosting: Hosting
    study: Study
    chosen: dict[Role, Chosen]
    plans: dict[Role, Plan]
    loader: Loader[Role]
    network: Network
    card: ModelCard

    def steps(self, start: int, stop: int) -> Iterator[StepBatch]:
        """This rank's share of every step in [start, stop), on its device."""
        moved = on_device(self.loader.batches(start, stop), self.runtime.device)
        for step, batches in enumerate(moved, start):
            yield {role: RoleBatch(batch, self._subjects(role, step)) for role, batch in batches.items()}

    def _subjects(self, role: Role, step: int) -> Int[Tensor, " N"]:
        return torch.as_tensor(self.plans[role].counts(step)).to(self.runtime.device, non_blocking=True)

    def evaluation(self, split: str) -> Iterator[Batch]:
        """This rank's share of all scans of a split, each once; targets are NaN where there are none."""
        return self.once(np.flatnonzero(self.study.table["split"] == split))

    def once(self, rows: Int[np.ndarray, " n"]) -> Iterator[Batch]:
        """This rank's share of some rows of the study's table, each once."""
        for batch in self.hosting.evaluation(rows, EVALUATION_BATCH, self.loader.target):
            yield batch.to(self.runtime.device)

    def model(self) -> Model:
        """The network as it is used outside of training."""
        parts = {name: unwrapped(module) for name, module in self.network.parts.items()}
        return Model(self.card, parts, self.network.task)


def build(config: RunConfig, runtime: Runtime) -> Job:
    """Read the manifests, choose the scans, and build the network, the same on every rank.

    Raises:
        UserError: shards, sites, labels or settings that do not fit together; or ranks that see different ones.
    """
    refuse_alignments(config)
    hosting = Hosting.read(config, runtime)
    study = hosting.study
    if config.tracking.enabled:
        check_metric_names(study.sites)
    chosen = _chosen(config, hosting)
    plans = _plans(config, chosen)
    loader = Loader(
        study,
        {role: (chosen[role], plans[role]) for role in chosen},
        rank=runtime.rank, world_size=runtime.world_size, placement=hosting.placement,
        target=_asked_for(config), threads=config.data.threads,
    )  # fmt: skip
    runtime.agree(loader.digest(), "the scans, their preparation and the plan of the batches")
    torch.manual_seed(config.seed)  # the same first weights on every rank
    card, network = build_network(config, hosting, chosen, _labels(config))
    torch.manual_seed(config.seed * 1_000_003 + runtime.rank + 1)  # dropout differs between ranks
    return Job(config, runtime, hosting, study, chosen, plans, loader, network, card)


def _asked_for(config: RunConfig) -> tuple[str, ...]:
    return (*_labels(config), *([] if config.task.targets else [SEGMENTATION]))


def _chosen(config: RunConfig, hosting: Hosting) -> dict[Role, Chosen]:
    """X_p, and an X_u for every confound that some stage unlearns; the same object where they are the same."""
    targets, study, share = config.task.targets, hosting.study, hosting.share
    main = select(study, config.data.main, split="train", needs=[targets or SEGMENTATION], share=share)
    site = main
    if config.data.unlearn is not None:
        site = select(study, config.data.unlearn, split="train", within=main, share=share)
    chosen: dict[Role, Chosen] = {"main": main, role_of(SITE): site}
    for name, confound in config.confounds.items():
        rule = confound.unlearn or config.data.unlearn or config.data.main
        own = select(study, rule, split="train", needs=[confound.column], within=main, share=share)
        chosen[role_of(name)] = site if _alike(own, site, hosting) else own
    for scans in chosen.values():
        hosting.refuse_few(scans)
    return chosen


def _plans(config: RunConfig, chosen: dict[Role, Chosen]) -> dict[Role, Plan]:
    """One plan a role; the same one where roles have the same scans, so that each is read and encoded once."""
    data, plans = config.data, dict[Role, Plan]()
    for role, scans in chosen.items():
        alike = next((other for other in plans if chosen[other] is scans), None)
        plans[role] = plans[alike] if alike else scans.plan(data.batch, seed=config.seed, role=role, quota=data.quota)
    return plans


def _alike(one: Chosen, other: Chosen, hosting: Hosting) -> bool:
    """Whether two roles have the same scans, on every rank."""
    differ = hosting.add_up(torch.tensor([0 if one.same_scans(other) else 1]))
    return not differ.any()


def _labels(config: RunConfig) -> tuple[str, ...]:
    """The labels that every batch carries: targets first, then confounds and what alignments compare scans at."""
    terms = [term for method in config.methods for phase in phases_of(method) for term in phase.terms]
    compared = [term.label for term in terms if term.label is not None]
    columns = [confound.column for confound in config.confounds.values()]
    return tuple(dict.fromkeys([*config.task.targets, *columns, *compared]))
