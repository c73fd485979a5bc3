"""The network of a run, fitted to its scans: the same first weights, and the same task, on every rank."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from distunlearn.config import RunConfig
from distunlearn.engine.hosting import Hosting
from distunlearn.engine.network import Network, unwrapped
from distunlearn.engine.reduction import prime
from distunlearn.engine.refuse import refuse_norm
from distunlearn.errors import UserError
from distunlearn.evaluate.model import ModelCard, build_parts, value_names
from distunlearn.methods import Confound, Role, role_of
from distunlearn.models import Mlp, Tapped
from distunlearn.models.norm import statistics_of
from distunlearn.moments import moments
from distunlearn.streaming.chosen import Chosen
from distunlearn.streaming.labels import label_numbers
from distunlearn.streaming.loader import evaluation_batches
from distunlearn.streaming.manifest import Study
from distunlearn.tasks import TASKS


def build_network(
    config: RunConfig, hosting: Hosting, chosen: Mapping[Role, Chosen], labels: tuple[str, ...]
) -> tuple[ModelCard, Network]:
    """Build the parts, each in its DDP, and fit the task and the confounds to the scans of training.

    Args:
        config: of the run.
        hosting: what this rank sees of the study.
        chosen: the scans of each role.
        labels: names of the columns of `Batch.target`.

    Returns:
        What a saved model says of itself, and the network.

    Raises:
        UserError: an encoder, a task or a confound that does not fit the scans; ranks that disagree about classes.
    """
    runtime, study = hosting.runtime, hosting.study
    target = target_values(study, hosting.first(chosen["main"].rows), config.task.targets)
    confounds = _confounds(config, hosting, chosen)
    try:
        task = TASKS[config.task.name].fit(config.task, target, value_names(study, config.task.targets), hosting.add_up)
        card = ModelCard(
            sites=study.sites, kind=study.kind, shape=study.shape,
            preprocessing=study.preprocessing, preprocessing_digest=study.preprocessing_digest,
            encoder=config.encoder, task_head=config.task_head, domain_head=config.domain_head, confounds=confounds,
            erasable=any(method.name == "erasure" for method in config.methods),
            task=config.task, task_state=task.state(), target_range=hosting.ranges(target, config.task.targets),
            simulated=bool(hosting.add_up(torch.tensor(int(study.simulated)))),
        )  # fmt: skip
        parts = build_parts(card)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"encoder {config.encoder.name!r} or task {config.task.name!r} does not fit scans of shape {study.shape}: {error}"
        ) from None
    if hosting.federated:
        what = "classes and cuts, which a federated run must name (task.classes, confounds.NAME.cuts)"
        runtime.agree(card.model_dump_json(), what)
    refuse_norm(statistics_of(nn.ModuleList(parts.values())), runtime)
    _standardise_tables(parts["encoder"], hosting, chosen["main"])
    found = {confound.name: confound for confound in confounds}
    wrapped = {name: runtime.wrap(module) for name, module in parts.items()}
    prime(wrapped, (1, *study.shape) if study.kind == "volume" else study.shape)
    if config.engine.compile:
        unwrapped(wrapped["encoder"]).compile()
    return card, Network(wrapped, task, found, labels, runtime.precision)


def _confounds(config: RunConfig, hosting: Hosting, chosen: Mapping[Role, Chosen]) -> tuple[Confound, ...]:
    study = hosting.study
    found = [Confound.site(len(study.sites))]
    for name, confound in config.confounds.items():
        values = torch.from_numpy(label_numbers(study, confound.column)[hosting.first(chosen[role_of(name)].rows)])
        try:
            found.append(Confound.fit(name, confound, values, hosting.add_up))
        except ValueError as error:
            raise UserError(f"confounds.{name}: label {confound.column!r} cannot be unlearned: {error}") from None
    return tuple(found)


def _standardise_tables(encoder: nn.Module, hosting: Hosting, main: Chosen) -> None:
    assert isinstance(encoder, Tapped)
    if isinstance(encoder.encoder, Mlp):
        batches = evaluation_batches(hosting.study, hosting.first(main.rows), batch=256)
        rows = [batch.to("cpu").volume for batch in batches]
        encoder.encoder.standardise(*moments(torch.cat([torch.empty(0, *hosting.study.shape), *rows]), hosting.add_up))


def target_values(study: Study, rows: Int[np.ndarray, " n"], targets: tuple[str, ...]) -> Float[Tensor, "n T"]:
    """The targets of scans, in their unit, as the loader numbers them."""
    columns = [torch.from_numpy(label_numbers(study, name)[rows]) for name in targets]
    return torch.stack(columns, dim=1) if columns else torch.empty(len(rows), 0)
