"""Everything that a run needs before its first step: scans, plan, loader and network, built from the configuration."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from distunlearn.batch import Batch
from distunlearn.config import RunConfig
from distunlearn.engine.losses import LOSSES
from distunlearn.engine.reduction import prime
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import Network, RoleBatch, StepBatch, unwrapped
from distunlearn.errors import UserError
from distunlearn.evaluate.model import Model, ModelCard, build_parts, target_ranges, value_names
from distunlearn.methods import SITE, Confound, Role, phases_of, role_of
from distunlearn.models import Mlp, Tapped
from distunlearn.streaming.chosen import Chosen
from distunlearn.streaming.drawn import SEGMENTATION
from distunlearn.streaming.labels import label_numbers
from distunlearn.streaming.loader import Loader, evaluation_batches
from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.plan import Plan
from distunlearn.streaming.select import select
from distunlearn.tasks import TASKS
from distunlearn.tracking import check_metric_names

EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Job:
    """A run, ready to take its first step."""

    config: RunConfig
    runtime: Runtime
    study: Study
    chosen: dict[Role, Chosen]
    plans: dict[Role, Plan]
    loader: Loader[Role]
    network: Network
    card: ModelCard

    def steps(self, start: int, stop: int) -> Iterator[StepBatch]:
        """This rank's share of every step in [start, stop), on its device."""
        for step, batches in enumerate(self.loader.batches(start, stop), start):
            yield {
                role: RoleBatch(batch, self._subjects(role, step)) for role, batch in self._on_device(batches).items()
            }

    def _on_device(self, batches: dict[Role, Batch]) -> dict[Role, Batch]:
        moved = {id(batch): batch.to(self.runtime.device) for batch in batches.values()}
        return {role: moved[id(batch)] for role, batch in batches.items()}

    def _subjects(self, role: Role, step: int) -> Int[Tensor, " N"]:
        return torch.as_tensor(self.plans[role].counts(step), device=self.runtime.device)

    def evaluation(self, split: str) -> Iterator[Batch]:
        """This rank's share of all scans of a split, each once; targets are NaN where there are none."""
        rows = np.flatnonzero(self.study.table["split"] == split)
        batches = evaluation_batches(
            self.study,
            rows,
            batch=EVALUATION_BATCH,
            rank=self.runtime.rank,
            world_size=self.runtime.world_size,
            target=_asked_for(self.network),
        )
        for batch in batches:
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
    study = read_study(config.shards, config.sites)
    if config.tracking.enabled:
        check_metric_names(study.sites)
    chosen = _chosen(config, study)
    plans = _plans(config, chosen)
    runtime.agree(" ".join(plans[role].digest() for role in chosen), "the plan of the batches")
    _refuse_local_batch_norm(config, runtime)
    torch.manual_seed(config.seed)  # the same first weights on every rank
    card, network = _network(config, runtime, study, chosen)
    torch.manual_seed(config.seed * 1_000_003 + runtime.rank + 1)  # dropout differs between ranks
    loader = Loader(
        study,
        {role: (chosen[role], plans[role]) for role in chosen},
        rank=runtime.rank, world_size=runtime.world_size, target=_asked_for(network), threads=config.data.threads,
    )  # fmt: skip
    return Job(config, runtime, study, chosen, plans, loader, network, card)


def _asked_for(network: Network) -> tuple[str, ...]:
    return (*network.labels, *([SEGMENTATION] if network.task.dense else []))


def _chosen(config: RunConfig, study: Study) -> dict[Role, Chosen]:
    """X_p, and an X_u for every confound that some stage unlearns; the same object where they are the same."""
    targets = config.task.targets
    main = select(study, config.data.main, split="train", needs=[targets or SEGMENTATION])
    site = main
    if config.data.unlearn is not None:
        site = select(study, config.data.unlearn, split="train", within=main)
    chosen: dict[Role, Chosen] = {"main": main, role_of(SITE): site}
    for name, confound in config.confounds.items():
        rule = confound.unlearn or config.data.unlearn or config.data.main
        own = select(study, rule, split="train", needs=[confound.column], within=main)
        chosen[role_of(name)] = site if own.same_scans(site) else own
    return chosen


def _plans(config: RunConfig, chosen: dict[Role, Chosen]) -> dict[Role, Plan]:
    """One plan a role; the same one where roles have the same scans, so that each is read and encoded once."""
    data, plans = config.data, dict[Role, Plan]()
    for role, scans in chosen.items():
        alike = next((other for other in plans if chosen[other] is scans), None)
        plans[role] = plans[alike] if alike else scans.plan(data.batch, seed=config.seed, role=role, quota=data.quota)
    return plans


def _network(
    config: RunConfig, runtime: Runtime, study: Study, chosen: dict[Role, Chosen]
) -> tuple[ModelCard, Network]:
    target = target_values(study, chosen["main"].rows, config.task.targets)
    confounds = _confounds(config, study, chosen)
    try:
        task = TASKS[config.task.name].fit(config.task, target, value_names(study, config.task.targets))
        card = ModelCard(
            sites=study.sites, kind=study.kind, shape=study.shape,
            preprocessing=study.preprocessing, preprocessing_digest=study.preprocessing_digest,
            encoder=config.encoder, task_head=config.task_head, domain_head=config.domain_head, confounds=confounds,
            erasable=any(method.name == "erasure" for method in config.methods),
            task=config.task, task_state=task.state(), target_range=target_ranges(target, config.task.targets),
        )  # fmt: skip
        parts = build_parts(card)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"encoder {config.encoder.name!r} or task {config.task.name!r} does not fit scans of shape {study.shape}: {error}"
        ) from None
    labels = _labels(config)
    _standardise_tables(parts["encoder"], study, chosen["main"], labels)
    found = {confound.name: confound for confound in confounds}
    wrapped = {name: runtime.wrap(module) for name, module in parts.items()}
    prime(wrapped, (1, *study.shape) if study.kind == "volume" else study.shape)
    if config.engine.compile:
        unwrapped(wrapped["encoder"]).compile()
    return card, Network(wrapped, task, found, labels, runtime.precision)


def _labels(config: RunConfig) -> tuple[str, ...]:
    """The labels that every batch carries: targets first, then confounds and what alignments compare scans at."""
    terms = [term for method in config.methods for phase in phases_of(method) for term in phase.terms]
    if not config.task.targets and any(term.loss == "alignment" and term.label is None for term in terms):
        raise UserError("method.label: a segmentation has no target to compare scans at; name a label, such as age")
    if config.engine.pieces > 1 and any(LOSSES[term.loss].reads == "features" for term in terms):
        raise UserError("engine.pieces: an alignment compares all scans of a batch, which cannot be cut; set pieces to 1")
    compared = [term.label for term in terms if term.label is not None]
    columns = [confound.column for confound in config.confounds.values()]
    return tuple(dict.fromkeys([*config.task.targets, *columns, *compared]))


def _confounds(config: RunConfig, study: Study, chosen: dict[Role, Chosen]) -> tuple[Confound, ...]:
    found = [Confound.site(len(study.sites))]
    for name, confound in config.confounds.items():
        values = torch.from_numpy(label_numbers(study, confound.column)[chosen[role_of(name)].rows])
        try:
            found.append(Confound.fit(name, confound, values))
        except ValueError as error:
            raise UserError(f"confounds.{name}: label {confound.column!r} cannot be unlearned: {error}") from None
    return tuple(found)


def _standardise_tables(encoder: nn.Module, study: Study, main: Chosen, targets: tuple[str, ...]) -> None:
    assert isinstance(encoder, Tapped)
    if isinstance(encoder.encoder, Mlp):
        batches = evaluation_batches(study, main.rows, batch=256, rank=0, world_size=1, target=targets)
        rows = torch.cat([batch.to(torch.device("cpu")).volume for batch in batches])
        encoder.encoder.standardise(rows.mean(dim=0), rows.std(dim=0))


def _refuse_local_batch_norm(config: RunConfig, runtime: Runtime) -> None:
    norm = getattr(config.encoder, "norm", None)
    if norm == "batch" and runtime.world_size > 1 and runtime.device.type != "cuda":
        raise UserError(
            "encoder.norm: batch would normalise by each rank's share of a batch, so that the result depends on the number of ranks; "
            "use group or instance, or one process"
        )


def target_values(study: Study, rows: Int[np.ndarray, " n"], targets: tuple[str, ...]) -> Float[Tensor, "n T"]:
    """The targets of scans, in their unit, as the loader numbers them."""
    columns = [torch.from_numpy(label_numbers(study, name)[rows]) for name in targets]
    return torch.stack(columns, dim=1) if columns else torch.empty(len(rows), 0)
