"""Predictions and features of a run's scans, as the files that probes and reports read.

Dimensions: `n` scans, `R` columns of the task, `F` features.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from distunlearn.batch import Batch
from distunlearn.evaluate.model import Model
from distunlearn.run_folder import FEATURES, PREDICTIONS
from distunlearn.shard_format import MISSING
from distunlearn.streaming.manifest import Study
from distunlearn.tasks import Task


class Predictions(NamedTuple):
    """What the network says of scans."""

    scan: Int[Tensor, " n"]
    """Row of each scan in the study's table."""
    rows: Float[Tensor, "n R"]
    """As the task puts it: its `columns`."""
    features: Float[Tensor, "n F"]

    def packed(self) -> Float[Tensor, "n K"]:
        """All three side by side in float64, to be sent as one tensor."""
        return torch.cat([self.scan[:, None].double(), self.rows.double(), self.features.double()], dim=1)

    @classmethod
    def unpacked(cls, packed: Float[Tensor, "n K"], columns: int) -> "Predictions":
        """The reverse of `packed`."""
        return cls(packed[:, 0].long(), packed[:, 1 : 1 + columns].float(), packed[:, 1 + columns :].float())


def predict(model: Model, batches: Iterable[Batch], device: torch.device) -> Predictions:
    """Run the model over batches."""
    scans, rows, features = [], [], []
    for batch in batches:
        here = batch.to(device)
        output, feature = model(here.volume)
        scans.append(here.scan)
        rows.append(model.task.rows(output, model.task.truth(here)).float())
        features.append(feature.float())
    if not scans:  # this rank has no share of a very small set
        empty = torch.empty(0, device=device)
        return Predictions(empty.long(), empty.reshape(0, len(model.task.columns)), empty.reshape(0, model.width))
    return Predictions(torch.cat(scans), torch.cat(rows), torch.cat(features))


def tabled(study: Study, predictions: Predictions, task: Task) -> tuple[pd.DataFrame, Float[np.ndarray, "n F"]]:
    """What predictions.tsv and features.npz hold, in the order of the study's table."""
    order = torch.argsort(predictions.scan).cpu()
    rows = study.table.iloc[predictions.scan.cpu()[order].numpy()].reset_index(drop=True)
    said = predictions.rows.cpu()[order].numpy().astype(np.float64).round(4)
    table = rows[["key", "site", "split", "subject"]].copy()
    for index, name in enumerate(task.columns):
        table[name] = said[:, index]
    labels = [name for name in study.labels if name not in table.columns]
    return pd.concat([table, rows[labels]], axis=1), predictions.features.cpu()[order].numpy()


def write_predictions(folder: Path, study: Study, predictions: Predictions, task: Task) -> None:
    """Write predictions.tsv and features.npz of one stage."""
    folder.mkdir(parents=True, exist_ok=True)
    table, features = tabled(study, predictions, task)
    np.savez_compressed(folder / FEATURES, key=table["key"].to_numpy(str), features=features)
    table.to_csv(folder / PREDICTIONS, sep="\t", index=False, na_rep=MISSING)
