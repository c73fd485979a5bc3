"""Predictions and features of a run's scans, as the files that probes and reports read.

Dimensions: `n` scans, `T` targets, `F` features.
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
from distunlearn.shard_format import MISSING, PLACE_COLUMNS
from distunlearn.streaming.manifest import Study


class Predictions(NamedTuple):
    """What the network says of scans."""

    scan: Int[Tensor, " n"]
    """Row of each scan in the study's table."""
    prediction: Float[Tensor, "n T"]
    """In the unit of the target."""
    features: Float[Tensor, "n F"]

    def packed(self) -> Float[Tensor, "n K"]:
        """All three side by side in float64, to be sent as one tensor."""
        return torch.cat([self.scan[:, None].double(), self.prediction.double(), self.features.double()], dim=1)

    @classmethod
    def unpacked(cls, packed: Float[Tensor, "n K"], targets: int) -> "Predictions":
        """The reverse of `packed`."""
        return cls(packed[:, 0].long(), packed[:, 1 : 1 + targets].float(), packed[:, 1 + targets :].float())


def predict(model: Model, batches: Iterable[Batch], device: torch.device) -> Predictions:
    """Run the model over batches."""
    scans, predictions, features = [], [], []
    for batch in batches:
        here = batch.to(device)
        prediction, feature = model(here.volume)
        scans.append(here.scan)
        predictions.append(prediction.float())
        features.append(feature.float())
    if not scans:  # this rank has no share of a very small set
        width = model.encoder.width
        assert isinstance(width, int)
        empty = torch.empty(0, device=device)
        return Predictions(empty.long(), empty.reshape(0, model.task.outputs), empty.reshape(0, width))
    return Predictions(torch.cat(scans), torch.cat(predictions), torch.cat(features))


def write_predictions(folder: Path, study: Study, predictions: Predictions, targets: tuple[str, ...]) -> None:
    """Write predictions.tsv and features.npz of one stage, in the order of the study's table."""
    folder.mkdir(parents=True, exist_ok=True)
    order = torch.argsort(predictions.scan).cpu()
    rows = study.table.iloc[predictions.scan.cpu()[order].numpy()].reset_index(drop=True)
    said = predictions.prediction.cpu()[order].numpy().astype(np.float64)
    table = rows[["key", "site", "split", "subject"]].copy()
    for index, name in enumerate(targets):
        suffix = "" if len(targets) == 1 else f"_{name}"
        table[f"target{suffix}"] = rows[name]
        table[f"prediction{suffix}"] = said[:, index].round(4)
    labels = [name for name in rows.columns if name not in {*PLACE_COLUMNS, "site", "domain"}]
    table = pd.concat([table, rows[labels]], axis=1)
    np.savez_compressed(
        folder / FEATURES, key=rows["key"].to_numpy(str), features=predictions.features.cpu()[order].numpy()
    )
    table.to_csv(folder / PREDICTIONS, sep="\t", index=False, na_rep=MISSING)
