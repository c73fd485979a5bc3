"""Normalisation layers, and what each of them does when a batch is spread over ranks."""

from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from distunlearn.models.sync_norm import SyncNorm

Norm = Literal["sync", "group", "instance", "layer", "batch", "none"]
"""
sync: by all scans of the global batch, whichever ranks hold them; the same on any number of ranks, in any placement.
group, instance, layer: each scan by itself; the same on any number of ranks and in any placement.
batch: by the scans of *this rank's* share of the batch, so results change with the world size; a rank that holds one
  site only would normalise the site away while training and find it back when testing. Refused on several ranks.
none: no normalisation.
"""

Statistics = Literal["none", "global", "rank"]
"""Of which scans a layer takes its means and variances: of each by itself, of the global batch, of this rank's share."""


def statistics_of(network: nn.Module) -> Statistics:
    """What a network normalises by, found by looking at its layers, so that a user's own network is known as well."""
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return "none"
    shared = all(isinstance(layer, SyncNorm | nn.SyncBatchNorm) for layer in layers)
    return "global" if shared else "rank"


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """The normalisation of a 3-D feature map with `channels` channels."""
    if norm == "sync":
        return nn.SyncBatchNorm(channels) if torch.cuda.is_available() else SyncNorm(channels)
    if norm == "batch":
        return nn.BatchNorm3d(channels)
    if norm == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    if norm == "layer":
        return nn.GroupNorm(1, channels)
    if norm == "group":
        return nn.GroupNorm(_groups(channels), channels)
    return nn.Identity()


def _groups(channels: int) -> int:
    """Eight groups where that divides the channels, else the largest number below eight that does."""
    return next(groups for groups in range(min(8, channels), 0, -1) if channels % groups == 0)
