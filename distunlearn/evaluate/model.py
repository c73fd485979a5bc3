"""A trained model on disk: safetensors weights, and a JSON that says what they are and what they expect."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distunlearn.errors import UserError
from distunlearn.methods import Part
from distunlearn.models import EncoderConfig, HeadConfig, build_encoder, head
from distunlearn.run_folder import read_json, write_json
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
    domain_head: HeadConfig
    task: TaskConfig
    task_state: dict[str, Any]
    target_range: dict[str, tuple[float, float]]
    """Least and greatest value of each target among the training scans: outside it, a prediction is extrapolation."""


@dataclass(frozen=True)
class Model:
    """A trained network and what it expects."""

    card: ModelCard
    encoder: nn.Module
    task_head: nn.Module
    domain_head: nn.Module
    task: Task

    @torch.inference_mode()
    def __call__(self, volume: Float[Tensor, "B ..."]) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B F"]]:
        """Predictions in the target's unit, and features, of scans that were prepared as the card says."""
        features = self.encoder(volume)
        return self.task.predict(self.task_head(features)), features


def build_parts(card: ModelCard) -> dict[Part, nn.Module]:
    """The three parts of Fig. 1, with fresh weights."""
    encoder = build_encoder(card.encoder, card.shape)
    width = encoder.width
    assert isinstance(width, int)
    return {
        "encoder": encoder,
        "task_head": head(card.task_head, width, len(card.task.targets)),
        "domain_head": head(card.domain_head, width, len(card.sites)),
    }


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
    return Model(card, parts["encoder"], parts["task_head"], parts["domain_head"], task)


def target_ranges(targets: Float[Tensor, "n T"], names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Least and greatest value of each target."""
    return {name: (column.min().item(), column.max().item()) for name, column in zip(names, targets.T, strict=True)}
