"""A trained model on new scans: prepared as its training scans were, whatever scanner they come from."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from distunlearn.errors import UserError
from distunlearn.evaluate.model import ModelCard, load_model
from distunlearn.prepare import prepare_scan


class Result(NamedTuple):
    """What a model says of one scan."""

    scan: Path
    prediction: dict[str, float]
    """By target, in its unit."""
    warnings: tuple[str, ...]


def apply_model(folder: Path, scans: Sequence[Path]) -> list[Result]:
    """Predict from NIfTI files.

    Args:
        folder: a stage's model folder.
        scans: .nii or .nii.gz files; neither site nor age is needed.

    Raises:
        UserError: no model there, a model of tables, or a scan that preparation refuses.
    """
    model = load_model(folder)
    if model.card.kind != "volume":
        raise UserError(
            f"{folder}: this model takes tables of features, not scans; use `distunlearn evaluate` on shards"
        )
    results = []
    for scan in scans:
        volume = torch.from_numpy(prepare_scan(scan, model.card.preprocessing))
        output, _ = model(volume[None, None])
        named = dict(zip(model.task.predicted, model.task.predict(output)[0].tolist(), strict=True))
        results.append(Result(scan, named, _warnings(model.card, named)))
    return results


def _warnings(card: ModelCard, prediction: dict[str, float]) -> tuple[str, ...]:
    """A prediction outside the targets of training is extrapolation."""
    outside = [
        name
        for name, value in prediction.items()
        if name in card.target_range and not card.target_range[name][0] <= value <= card.target_range[name][1]
    ]
    return tuple(
        f"outside the {name}s of training ({card.target_range[name][0]:g} to {card.target_range[name][1]:g})"
        for name in outside
    )


def write_table(path: Path, results: Sequence[Result]) -> None:
    """Write predictions as TSV: scan, one column a target, warnings."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["scan", *results[0].prediction, "warnings"])
        for result in results:
            writer.writerow([
                result.scan,
                *(f"{value:.4f}" for value in result.prediction.values()),
                "; ".join(result.warnings),
            ])
