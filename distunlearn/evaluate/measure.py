"""How good a prediction is, by the task: one figure a scan, and what a model reaches that looks at no scan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jaxtyping import Float
from numpy import ndarray

from distunlearn.run_folder import CONFIG

AGE = "age"
"""The label that scanners are confounded with whatever is predicted."""


@dataclass(frozen=True)
class Measure:
    """What is averaged over people in a table's cells."""

    name: str
    """Such as MAE."""
    unit: str
    of: Callable[[pd.DataFrame], Float[ndarray, " n"]]
    """One figure a scan from the rows of predictions.tsv."""
    constant: Callable[[pd.Series], float] | None
    """What to answer everybody from the training targets; None where no constant answers."""
    constant_name: str = ""
    """What that is called, such as "median"."""
    more_is_better: bool = False

    @property
    def with_unit(self) -> str:
        """As an axis is labelled."""
        return f"{self.name} ({self.unit})"


def _numbers(table: pd.DataFrame, column: str) -> Float[ndarray, " n"]:
    numbers: ndarray = table[column].to_numpy(dtype=float)
    return numbers


def _absolute_error(table: pd.DataFrame) -> Float[ndarray, " n"]:
    error: ndarray = np.abs(_numbers(table, "prediction") - _numbers(table, "target"))
    return error


def _wrong(table: pd.DataFrame) -> Float[ndarray, " n"]:
    known = np.isfinite(_numbers(table, "prediction"))
    return np.where(known, 100.0 * (_numbers(table, "prediction") != _numbers(table, "target")), np.nan)


def _dice(table: pd.DataFrame) -> Float[ndarray, " n"]:
    dice: ndarray = 100 * _numbers(table, "dice")
    return dice


MEASURES: dict[str, Measure] = {
    "regression": Measure("MAE", "years", _absolute_error, lambda targets: float(targets.median()), "median"),
    "classification": Measure(
        "error rate", "%", _wrong, lambda targets: float(targets.mode()[0]), "most frequent class"
    ),
    "segmentation": Measure("Dice", "%", _dice, None, more_is_better=True),
}
"""By the name of the task."""


@dataclass(frozen=True)
class Predicted:
    """What a run predicts."""

    measure: Measure
    target: str
    """Name of the (first) target, such as age."""


def predicted(run: Path) -> Predicted:
    """What a run predicts, from its configuration; age where it does not say."""
    path = run / CONFIG
    config: dict[str, Any] = (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}
    return predicted_by(config.get("task", {}))


def predicted_by(task: Mapping[str, Any]) -> Predicted:
    """What a task predicts, from its configuration."""
    target = task.get("target") or (task.get("targets") or ["age"])[0]
    name = task.get("name", "regression")
    measure = MEASURES.get(name, MEASURES["regression"])
    if name == "regression" and target != AGE:
        measure = replace(measure, unit=f"units of {target}")
    return Predicted(measure, name if name == "segmentation" else target)
