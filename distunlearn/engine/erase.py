"""Fits the erasing map of method `erasure` on the features of X_u; only sums of products cross ranks.

Dimensions: `n` scans of this rank, `F` features, `K` columns that describe the confounds.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from distunlearn.batch import Batch
from distunlearn.engine.job import Job
from distunlearn.engine.network import unwrapped
from distunlearn.methods import SITE, ErasureConfig, leace, role_of, told_beyond
from distunlearn.models import Tapped


def fit_erasure(job: Job, method: ErasureConfig) -> None:
    """Measure the features of X_u by this run's encoder as it is, and let the encoder erase from now on."""
    encoder = unwrapped(job.network.parts["encoder"])
    assert isinstance(encoder, Tapped)
    assert encoder.erase is not None
    rows, width = _rows(job, method), encoder.width
    targets = 2 * len(job.network.task.targets) if method.keep else 0
    ones = torch.ones_like(rows[:, :1])
    sums = job.runtime.sum(torch.cat([rows, ones], dim=1).T @ torch.cat([rows, ones], dim=1))
    count, mean = sums[-1, -1], sums[-1, :-1] / sums[-1, -1]
    covariance = sums[:-1, :-1] / count - mean[:, None] * mean[None, :]
    last = covariance.shape[0] - targets
    x, z, y = slice(0, width), slice(width, last), slice(last, None)
    told = covariance[x, z]
    if targets:
        told = told_beyond(told, covariance[x, y], covariance[y, y], covariance[y, z])
    encoder.erase.fit(*leace(covariance[x, x], told, mean[x]))


@torch.no_grad()
def _rows(job: Job, method: ErasureConfig) -> Float[Tensor, "n C"]:
    """Features, confounds, and targets with their squares, of every scan of the confounds' X_u of which all are known."""
    model, parts = job.model(), []
    model.set_training(False)
    chosen = np.unique(np.concatenate([job.chosen[role_of(name)].rows for name in method.confounds]))
    for batch in job.once(chosen):
        described = [_described(job, name, batch) for name in method.confounds]
        target = (
            batch.target[:, : len(job.network.task.targets)].double() if method.keep else batch.target[:, :0].double()
        )
        features = model(batch.volume)[1].double()
        parts.append(torch.cat([features, *described, target, target.square()], dim=1))
    model.set_training(True)
    rows = torch.cat(parts) if parts else _nothing(job, method)
    return rows[~rows.isnan().any(dim=1)]


def _described(job: Job, name: str, batch: Batch) -> Float[Tensor, "n K"]:
    """One column a class, or the number of a continuous confound."""
    confound = job.network.confounds[name]
    values = batch.domain if name == SITE else job.network.label(batch, confound.column)
    truth = confound.truth(values, batch.domain)
    if confound.kind == "continuous":
        return truth[:, None].double()
    described = F.one_hot(truth.clamp(0, confound.outputs - 1), confound.outputs).double()
    return torch.where(values[:, None].double().isnan(), torch.nan, described)


def _nothing(job: Job, method: ErasureConfig) -> Float[Tensor, "0 C"]:
    outputs = sum(job.network.confounds[name].outputs for name in method.confounds)
    targets = 2 * len(job.network.task.targets) if method.keep else 0
    return torch.empty(0, job.model().width + outputs + targets, dtype=torch.float64, device=job.runtime.device)
