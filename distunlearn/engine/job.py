"""Everything that a run needs before its first step: scans, plan, loader and network, built from the configuration."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from distunlearn.batch import Batch
from distunlearn.config import RunConfig
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import Network, RoleBatch, StepBatch, unwrapped
from distunlearn.errors import UserError
from distunlearn.evaluate.model import Model, ModelCard, build_parts, target_ranges
from distunlearn.methods import Role
from distunlearn.models.mlp import Mlp
from distunlearn.streaming.loader import Loader, evaluation_batches
from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.plan import Plan
from distunlearn.streaming.select import Chosen, select
from distunlearn.tasks import TASKS
from distunlearn.tracking import check_metric_names

ROLES: tuple[Role, ...] = ("main", "unlearn")
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
        """This rank's share of all scans of a split that have a target, each once."""
        rows = rows_with_target(self.study, split, self.config.task.targets)
        batches = evaluation_batches(
            self.study,
            rows,
            batch=EVALUATION_BATCH,
            rank=self.runtime.rank,
            world_size=self.runtime.world_size,
            target=self.config.task.targets,
        )
        for batch in batches:
            yield batch.to(self.runtime.device)

    def model(self) -> Model:
        """The network as it is used outside of training."""
        parts = {name: unwrapped(module) for name, module in self.network.parts.items()}
        return Model(self.card, **parts, task=self.network.task)


def build(config: RunConfig, runtime: Runtime) -> Job:
    """Read the manifests, choose the scans, and build the network, the same on every rank.

    Raises:
        UserError: shards, sites, labels or settings that do not fit together; or ranks that see different ones.
    """
    study = read_study(config.shards, config.sites)
    if config.tracking.enabled:
        check_metric_names(study.sites)
    targets = config.task.targets
    main = select(study, config.data.main, split="train", needs=targets)
    unlearn = main if config.data.unlearn is None else select(study, config.data.unlearn, split="train", within=main)
    chosen: dict[Role, Chosen] = {"main": main, "unlearn": unlearn}
    plans = _plans(config, chosen)
    runtime.agree(" ".join(plans[role].digest() for role in ROLES), "the plan of the batches")
    _refuse_local_batch_norm(config, runtime)
    torch.manual_seed(config.seed)  # the same first weights on every rank
    card, network = _network(config, runtime, study, main)
    torch.manual_seed(config.seed * 1_000_003 + runtime.rank + 1)  # dropout differs between ranks
    loader = Loader(
        study,
        {role: (chosen[role], plans[role]) for role in ROLES},
        rank=runtime.rank, world_size=runtime.world_size, target=targets, threads=config.data.threads,
    )  # fmt: skip
    return Job(config, runtime, study, chosen, plans, loader, network, card)


def _plans(config: RunConfig, chosen: dict[Role, Chosen]) -> dict[Role, Plan]:
    """One plan a role; the same one where X_u is X_p, so that each scan is read and encoded once."""
    data = config.data
    main = Plan(chosen["main"].counts, data.batch, config.seed, "main", data.quota)
    if chosen["unlearn"] is chosen["main"]:
        return {"main": main, "unlearn": main}
    return {"main": main, "unlearn": Plan(chosen["unlearn"].counts, data.batch, config.seed, "unlearn", data.quota)}


def _network(config: RunConfig, runtime: Runtime, study: Study, main: Chosen) -> tuple[ModelCard, Network]:
    target = target_values(study, main.rows, config.task.targets)
    task = TASKS[config.task.name].fit(config.task, target)
    card = ModelCard(
        sites=study.sites, kind=study.kind, shape=study.shape,
        preprocessing=study.preprocessing, preprocessing_digest=study.preprocessing_digest,
        encoder=config.encoder, task_head=config.task_head, domain_head=config.domain_head,
        task=config.task, task_state=task.state(), target_range=target_ranges(target, config.task.targets),
    )  # fmt: skip
    try:
        parts = build_parts(card)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"encoder {config.encoder.name!r} cannot take scans of shape {study.shape}: {error}") from None
    _standardise_tables(parts["encoder"], study, main, config.task.targets)
    return card, Network({name: runtime.wrap(module) for name, module in parts.items()}, task)


def _standardise_tables(encoder: nn.Module, study: Study, main: Chosen, targets: tuple[str, ...]) -> None:
    if isinstance(encoder, Mlp):
        batches = evaluation_batches(study, main.rows, batch=256, rank=0, world_size=1, target=targets)
        rows = torch.cat([batch.to(torch.device("cpu")).volume for batch in batches])
        encoder.standardise(rows.mean(dim=0), rows.std(dim=0))


def _refuse_local_batch_norm(config: RunConfig, runtime: Runtime) -> None:
    norm = getattr(config.encoder, "norm", None)
    if norm == "batch" and runtime.world_size > 1 and runtime.device.type != "cuda":
        raise UserError(
            "encoder.norm: batch would normalise by each rank's share of a batch, so that the result depends on the number of ranks; "
            "use group or instance, or one process"
        )


def target_values(study: Study, rows: Int[np.ndarray, " n"], targets: tuple[str, ...]) -> Float[Tensor, "n T"]:
    """The targets of scans, in their unit."""
    return torch.tensor(study.table.iloc[rows][list(targets)].to_numpy(np.float32))


def rows_with_target(study: Study, split: str, targets: tuple[str, ...]) -> Int[np.ndarray, " n"]:
    """Rows of a split whose targets are all there."""
    table = study.table
    return np.flatnonzero((table["split"] == split) & table[list(targets)].notna().all(axis=1))
