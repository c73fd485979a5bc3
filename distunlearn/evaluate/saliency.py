"""What the scans of a site look like and where the network looks: means over people, because a slice shows one of them.

Dimensions: `S` sites, `B` scans, `W` × `H` × `D` voxels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from distunlearn.evaluate.model import Model
from distunlearn.evaluate.sets import FEWEST_PEOPLE
from distunlearn.run_folder import PICTURES
from distunlearn.streaming.loader import evaluation_batches
from distunlearn.streaming.manifest import Study

MOST_PEOPLE = 40
"""Of a site: the mean of more looks the same."""
BATCH = 8


class Pictures(NamedTuple):
    """The middle axial slice of each site's mean scan and mean saliency."""

    sites: tuple[str, ...]
    people: Int[ndarray, " S"]
    scan: Float[ndarray, "S W H"]
    """Mean of the normalised test scans, one of each person."""
    saliency: Float[ndarray, "S W H"]
    """Mean size of the derivative of the (first) prediction by each voxel: units of the target a standard deviation of
    intensity (Simonyan et al. 2014, averaged over people)."""


def write_pictures(folder: Path, model: Model, study: Study) -> Path | None:
    """Write pictures.npz of a stage: two slices a site, each a mean over `FEWEST_PEOPLE` people or more.

    Args:
        folder: of the stage.
        model: its model, on the device to use.
        study: the scans.

    Returns:
        The file, or None where there is nothing to show: tables, segmentations, or too few test people at every site.
    """
    if study.kind != "volume" or model.task.dense:
        return None
    found = {site: rows for site in study.sites if len(rows := _rows(study, site)) >= FEWEST_PEOPLE}
    if not found:
        return None
    slices = [_means(model, study, rows) for rows in found.values()]
    path = folder / PICTURES
    np.savez_compressed(
        path, sites=np.array(list(found)), people=np.array([len(rows) for rows in found.values()]),
        scan=np.stack([scan for scan, _ in slices]), saliency=np.stack([saliency for _, saliency in slices]),
    )  # fmt: skip
    return path


def read_pictures(folder: Path) -> Pictures | None:
    """The pictures of a stage, None where there are none."""
    if not (folder / PICTURES).is_file():
        return None
    with np.load(folder / PICTURES, allow_pickle=False) as stored:
        sites = tuple(str(site) for site in stored["sites"])
        return Pictures(sites, stored["people"], stored["scan"], stored["saliency"])


def _rows(study: Study, site: str) -> Int[ndarray, " n"]:
    """Rows of one test scan of each person of a site."""
    table = study.table[(study.table["site"] == site) & (study.table["split"] == "test")]
    return table.drop_duplicates("subject").index.to_numpy(copy=True)[:MOST_PEOPLE]


def _means(model: Model, study: Study, rows: Int[ndarray, " n"]) -> tuple[Float[ndarray, "W H"], Float[ndarray, "W H"]]:
    """The middle axial slices of the mean scan and of the mean saliency, summed batch by batch."""
    scan, saliency = np.zeros(study.shape[:2]), np.zeros(study.shape[:2])
    middle = study.shape[2] // 2
    for volume in _volumes(model, study, rows):
        scan += volume[:, 0, :, :, middle].sum(dim=0).cpu().numpy()
        saliency += sensitivity(model, volume)[:, 0, :, :, middle].sum(dim=0).cpu().numpy()
    return scan / len(rows), saliency / len(rows)


def _volumes(model: Model, study: Study, rows: Int[ndarray, " n"]) -> Iterator[Tensor]:
    device = next(model.parts["encoder"].parameters()).device
    for batch in evaluation_batches(study, rows, BATCH):
        yield batch.to(device).volume


def sensitivity(model: Model, volume: Float[Tensor, "B 1 W H D"]) -> Float[Tensor, "B 1 W H D"]:
    """How much the first of what is predicted changes with each voxel, without its sign."""
    volume = volume.detach().requires_grad_()
    said = model.task.predict(model.parts["task_head"](model.parts["encoder"](volume)))[:, 0]
    (gradient,) = torch.autograd.grad(said.sum(), volume)  # scans do not mix outside of training
    return gradient.abs()
