"""A trained model on disk: safetensors weights, and a JSON that says what they are and what they expect."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distunlearn.errors import UserError
from distunlearn.evaluate.age_bias import Correction
from distunlearn.methods import Confound, Part, head_of
from distunlearn.models import (
    DomainHeadConfig,
    DomainHeads,
    EncoderConfig,
    HeadConfig,
    Tapped,
    TaskHead,
    VoxelHead,
    build_encoder,
)
from distunlearn.run_folder import read_json, write_json
from distunlearn.shard_format import Range
from distunlearn.streaming.manifest import Study
from distunlearn.strict import Strict
from distunlearn.tasks import TASKS, Task, TaskConfig

WEIGHTS = "model.safetensors"
CARD = "model.json"


class ModelCard(Strict):
    """Everything but the weights that is needed to use a model on a new scan."""

    schema_version: int = 1
    sites: tuple[str, ...]
    """Sites of training, in the order of the domain head's outputs; a new scan need not be of one of them."""
    kind: str
    shape: tuple[int, ...]
    preprocessing: dict[str, Any]
    preprocessing_digest: str
    encoder: EncoderConfig
    task_head: HeadConfig
    domain_head: DomainHeadConfig
    confounds: tuple[Confound, ...]
    """What domain heads tell: the site first."""
    erasable: bool = False
    """Whether the features pass through a linear map that erases (method `erasure`)."""
    task: TaskConfig
    task_state: dict[str, Any]
    target_range: dict[str, tuple[float, float]]
    """Least and greatest value of each target among the training scans: outside it, a prediction is extrapolation."""
    corrections: dict[str, Correction] = Field(default_factory=dict)
    """How predicted numbers are freed from their bias towards the mean: a line, fitted on the validation split alone."""
    looks: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Range of what the training volumes look like, see `evaluate.applicability`."""
    simulated: bool = False
    """Whether scans of the study were simulated: the model then says nothing of real brains."""
    voxel_mm: tuple[Range, ...] = ()
    """Least and greatest voxel size of the training's files along each axis of the volume; none where not known."""


@dataclass(frozen=True)
class Model:
    """A trained network and what it expects."""

    card: ModelCard
    parts: Mapping[Part, nn.Module]
    task: Task

    @property
    def width(self) -> int:
        """Of the feature layer."""
        encoder = self.parts["encoder"]
        assert isinstance(encoder, Tapped)
        return encoder.width

    @torch.inference_mode()
    def __call__(self, volume: Float[Tensor, "B ..."]) -> tuple[Tensor, Float[Tensor, "B F"]]:
        """The task head's output, for `task` to explain, and features, of scans that were prepared as the card says."""
        encoded = self.parts["encoder"](volume)
        return self.parts["task_head"](encoded), encoded[:, : self.width]

    @torch.inference_mode()
    def told_domain(self, volume: Float[Tensor, "B ..."]) -> Int[Tensor, " B"]:
        """The site that the domain heads of the training name, by their mean probability."""
        said: Tensor = self.parts["domain_head"](self.parts["encoder"](volume))
        return said.softmax(dim=2).mean(dim=1).argmax(dim=1)

    def set_training(self, training: bool) -> None:
        """Switch dropout and batch normalisation of all parts."""
        for part in self.parts.values():
            part.train(training)


def build_parts(card: ModelCard) -> dict[Part, nn.Module]:
    """The parts of Fig. 1, with fresh weights; one domain head, or set of heads, a confound."""
    task = TASKS[card.task.name].restore(card.task, card.task_state)
    layers = card.domain_head.layers
    encoder = build_encoder(card.encoder, card.shape, layers=layers, erasable=card.erasable, dense=task.dense)
    parts: dict[Part, nn.Module] = {
        "encoder": encoder,
        "task_head": VoxelHead(encoder.width, task.outputs, card.shape)
        if task.dense
        else TaskHead(card.task_head, encoder.width, task.outputs),
    }
    for found in card.confounds:
        parts[head_of(found.name)] = DomainHeads(card.domain_head, encoder.widths, found.outputs)
    return parts


def save_model(folder: Path, card: ModelCard, parts: Mapping[Part, nn.Module]) -> None:
    """Write weights and card; the card last, so that a folder with a card is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{part}.{name}": value.contiguous()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS)
    write_json(folder / CARD, card.model_dump(mode="json"))


def load_model(folder: Path) -> Model:
    """Load a model to use it.

    Raises:
        UserError: no model there, or one whose files do not belong together.
    """
    if not (folder / CARD).is_file():
        raise UserError(f"{folder}: no {CARD} there; give a run folder whose training has finished a stage")
    card = ModelCard.read(read_json(folder / CARD), str(folder / CARD))
    parts = build_parts(card)
    try:
        tensors = load_file(folder / WEIGHTS)
        for part, module in parts.items():
            module.load_state_dict({
                name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")
            })
            module.eval()
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{folder / WEIGHTS}: does not belong to its {CARD} ({str(error).splitlines()[0]})") from None
    task = TASKS[card.task.name].restore(card.task, card.task_state)
    return Model(card, parts, task)


def target_ranges(targets: Float[Tensor, "n T"], names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Least and greatest known value of each target."""
    known = [column[~column.isnan()] for column in targets.T]
    return {name: (column.min().item(), column.max().item()) for name, column in zip(names, known, strict=True)}


def value_names(study: Study, targets: tuple[str, ...]) -> dict[float, str]:
    """What the loader's numbers for the first target are called: the text itself, or the number as text.

    Without targets, the values of the segmentations.
    """
    if not targets:
        return {float(value): str(value) for value in study.classes}
    if targets[0] not in study.labels:
        return {}
    values = sorted(study.table[targets[0]].dropna().unique())
    if study.table[targets[0]].dtype == float:
        return {float(np.float32(value)): f"{value:g}" for value in values}
    return {float(index): str(value) for index, value in enumerate(values)}
