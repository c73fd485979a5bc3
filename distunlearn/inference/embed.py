"""The features of scans as a table for statistics: what the task sees, after the scanner was unlearned."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distunlearn.evaluate.model import Model
from distunlearn.evaluate.rerun import BATCH, refuse_other_preparation
from distunlearn.inference.apply import Bad, Result
from distunlearn.streaming.loader import evaluation_batches
from distunlearn.streaming.manifest import read_study

WHO = ("key", "site", "split", "subject", "session")
"""Columns of shards that come before the features."""


def feature_names(model: Model) -> list[str]:
    """What the columns of features are called."""
    return [f"feature_{index:03d}" for index in range(model.width)]


def of_scans(model: Model, results: Iterable[Result | Bad]) -> Iterator[list[Any]]:
    """Rows of a table: the header first, then scan, features, and why there are none."""
    yield ["scan", *feature_names(model), "warnings", "refused"]
    for result in results:
        if isinstance(result, Bad):
            yield [result.scan, *[None] * (model.width + 1), f"{result.rule}: {result.reason}"]
        else:
            yield [result.scan, *_written(result.features.tolist()), "; ".join(result.warnings) or None, None]


def of_shards(model: Model, shards: Path) -> Iterator[list[Any]]:
    """Rows of a table: the header first, then who was scanned, the labels, and the features.

    Args:
        model: on the device that it runs on.
        shards: prepared as the training's were; of any site.

    Raises:
        UserError: shards that were prepared in another way.
    """
    study = read_study(shards)
    refuse_other_preparation(model, study)
    labels = [name for name in study.labels if name not in WHO]
    yield [*WHO, *labels, *feature_names(model)]
    device = next(model.parts["encoder"].parameters()).device
    told = study.table[[*WHO, *labels]].astype(object).where(study.table[[*WHO, *labels]].notna(), None)
    with torch.inference_mode():
        for batch in evaluation_batches(study, np.arange(len(study.table)), BATCH):
            here = batch.to(device)
            _, features = model(here.volume)
            for row, values in zip(here.scan.tolist(), features.cpu().tolist(), strict=True):
                yield [*told.iloc[row], *_written(values)]


def _written(values: Sequence[float]) -> list[str]:
    return [f"{value:.7g}" for value in values]
