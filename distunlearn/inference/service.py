"""A model behind a server: the bytes of NIfTI files in, one row of predictions and warnings a file out."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from distunlearn.evaluate.model import Model
from distunlearn.inference.apply import Bad, Effort, Result, apply_model, load_for_scans

Answer = Callable[[Iterable[bytes]], list[dict[str, Any]]]


def columns(model: Model) -> dict[str, str]:
    """What an answer holds: names and types, all of which may be missing."""
    numbers = [*model.task.predicted, *(f"{name}_corrected" for name in model.card.corrections)]
    return dict.fromkeys(numbers, "double") | {"warnings": "string", "refused": "string"}


def load(folder: Path) -> Answer:
    """A function from the bytes of scans to answers; a scan that preparation refuses says so in its own row."""
    model = load_for_scans(folder)

    def answer(scans: Iterable[bytes]) -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as held:
            paths = []
            for number, content in enumerate(scans):
                paths.append(Path(held) / f"{number}.nii.gz")  # what is not zipped is seen in the file, not in its name
                paths[-1].write_bytes(content)
            return [_row(model, result) for result in apply_model(model, paths, Effort(workers=1))]

    return answer


def _row(model: Model, result: Result | Bad) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(columns(model))
    if isinstance(result, Bad):
        return row | {"refused": f"{result.rule}: {result.reason}"}
    corrected = {f"{name}_corrected": value for name, value in result.corrected.items()}
    return row | result.prediction | corrected | {"warnings": "; ".join(result.warnings) or None}
