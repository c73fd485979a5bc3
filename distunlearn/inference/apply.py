"""A trained model on new scans: prepared as its training scans were, whatever scanner they come from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distunlearn.errors import UserError
from distunlearn.evaluate.applicability import looks, unlike, unlike_voxels
from distunlearn.evaluate.model import Model, ModelCard, load_model
from distunlearn.prepare.config import Orientation, PrepareConfig, Preprocessing
from distunlearn.prepare.sources.scans import Scan
from distunlearn.prepare.writing.work import Prepared, pool

FEW = 8
"""Scans for which worker processes are not worth starting."""


class Result(NamedTuple):
    """What a model says of one scan."""

    scan: Path
    prediction: dict[str, float]
    """By target, in its unit."""
    corrected: dict[str, float | None]
    """The same without the bias towards the mean, of those targets that have a correction; None where it has none."""
    warnings: tuple[str, ...]
    features: Float[Tensor, " F"]


class Bad(NamedTuple):
    """A scan that preparation refused."""

    scan: Path
    rule: str
    reason: str


@dataclass(frozen=True)
class Effort:
    """How much is done at once."""

    batch: int = 16
    """Scans that go through the network together."""
    workers: int = 0
    """Processes that prepare scans; 0 is one a core."""
    orientation_from: Orientation = "agree"
    """Which affine to follow when a header's two disagree."""


def load_for_scans(folder: Path) -> Model:
    """Load a model that takes scans, onto the GPU if there is one.

    Args:
        folder: a stage's model folder, or one that `distunlearn export` wrote.

    Raises:
        UserError: no model there, or a model of tables.
    """
    model = load_model(folder)
    if model.card.kind != "volume":
        raise UserError(
            f"{folder}: this model takes tables of features, not scans; use `distunlearn evaluate` or `embed --shards`"
        )
    for part in model.parts.values():
        part.to("cuda" if torch.cuda.is_available() else "cpu")
    return model


def apply_model(model: Model, scans: Sequence[Path], effort: Effort | None = None) -> Iterator[Result | Bad]:
    """Predict from NIfTI files, one after the other; a bad one does not stop the others.

    Args:
        model: from `load_for_scans`.
        scans: .nii or .nii.gz files; neither site nor age is needed.
        effort: how much is done at once.
    """
    effort = effort or Effort()
    config = PrepareConfig(
        preprocessing=Preprocessing.read(model.card.preprocessing, "the preprocessing stored with the model"),
        orientation_from=effort.orientation_from,
        workers=effort.workers,
    )
    unknown = (Scan("", "", "", path, "", {}) for path in scans)
    with pool(config, alone=len(scans) < FEW) as prepare:
        coming = zip(scans, prepare(unknown), strict=True)
        while several := list(islice(coming, effort.batch)):
            yield from _said(model, several)


def _said(model: Model, several: Sequence[tuple[Path, Prepared]]) -> Iterator[Result | Bad]:
    """What becomes of one batch, in its order."""
    good = [(path, prepared) for path, prepared in several if prepared.array is not None]
    results = iter(_results(model, good) if good else ())
    for path, prepared in several:
        yield next(results) if prepared.array is not None else Bad(path, prepared.rule, prepared.reason)


def _results(model: Model, good: Sequence[tuple[Path, Prepared]]) -> list[Result]:
    device = next(model.parts["encoder"].parameters()).device
    z = [np.asarray(one.array, np.float32) * np.float32(one.scale) for _, one in good]  # as a reader of shards gets it
    volume = torch.from_numpy(np.stack(z))[:, None].to(device)
    output, features = model(volume)
    predicted, look, features = model.task.predict(output).cpu(), looks(volume).cpu(), features.cpu()
    found = []
    for index, (path, prepared) in enumerate(good):
        named = dict(zip(model.task.predicted, predicted[index].tolist(), strict=True))
        corrected = {name: fit.apply(named[name]) for name, fit in model.card.corrections.items()}
        voxels = unlike_voxels(prepared.voxel_mm, model.card.voxel_mm)
        warnings = (*voxels, *unlike(look[index], model.card.looks), *_extrapolated(model.card, named))
        found.append(Result(path, named, corrected, warnings, features[index]))
    return found


def _extrapolated(card: ModelCard, prediction: dict[str, float]) -> list[str]:
    """A prediction outside the targets of training is extrapolation."""
    return [
        f"outside the {name}s of training ({low:g} to {high:g})"
        for name, (low, high) in card.target_range.items()
        if name in prediction and not low <= prediction[name] <= high
    ]


def remarks(card: ModelCard) -> list[str]:
    """What a user must know of all predictions: what could not be fitted when the model was trained."""
    found = [
        f"{name}: not corrected for the bias towards the mean ({fit.why_not})"
        for name, fit in card.corrections.items()
        if fit.slope is None
    ]
    if not card.looks:
        found.append(
            "this model does not know what its training scans looked like; geometry and intensity go unchecked"
        )
    elif not card.voxel_mm:
        found.append("this model does not know the voxel sizes of its training scans; they go unchecked")
    return found


def predictions(model: Model, results: Iterable[Result | Bad]) -> Iterator[list[Any]]:
    """Rows of a table of predictions: the header first; None is missing."""
    names = [*model.task.predicted, *(f"{name}_corrected" for name in model.card.corrections)]
    yield ["scan", *names, "warnings", "refused"]
    for result in results:
        if isinstance(result, Bad):
            yield [result.scan, *[None] * (len(names) + 1), f"{result.rule}: {result.reason}"]
            continue
        numbers = [*result.prediction.values(), *result.corrected.values()]
        told = [None if value is None else f"{value:.4f}" for value in numbers]
        yield [result.scan, *told, "; ".join(result.warnings) or None, None]


class Tally:
    """Counts what becomes of scans, and tells of those that are refused."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.good = self.warned = self.bad = 0

    def count(self, results: Iterable[Result | Bad]) -> Iterator[Result | Bad]:
        """Hand on results, counted."""
        for result in results:
            if isinstance(result, Bad):
                self.bad += 1
                self._say(f"{result.scan}: refused, {result.reason} (rule {result.rule})")
            else:
                self.good += 1
                self.warned += bool(result.warnings)
            yield result

    @property
    def sentence(self) -> str:
        """What became of them."""
        return f"{self.good} scans done, {self.warned} of them with warnings; {self.bad} refused"
