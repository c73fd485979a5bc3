"""One rank's share of a step: scans as they are stored, and what is known about them."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

NO_SEGMENTATION = torch.empty(1, 0, dtype=torch.int16)


class Batch(NamedTuple):
    """Scans of one step and one role, in no particular order of sites.

    As the loader yields it, `volume` holds the *stored* values (int16 or float32) in a buffer that is used again for a
    later step; `to` gives normalised float32 values in memory of their own.
    """

    volume: Tensor
    """(B, 1, W, H, D) of volumes, (B, F) of features."""
    scale: Float[Tensor, " B"]
    """Stored value to normalised value; ones after `to`."""
    scan: Int[Tensor, " B"]
    """Row of each scan in the study's table."""
    domain: Int[Tensor, " B"]
    """Index of each scan's site."""
    target: Float[Tensor, "B T"]
    """The labels that the loader was asked for, NaN where there is none."""
    segmentation: Tensor = NO_SEGMENTATION
    """(B, W, H, D) int16, -1 throughout a scan without one; (B, 0) where the loader was not asked for it."""

    def to(self, device: torch.device | str) -> "Batch":
        """Copy the batch to a device and turn stored values into normalised ones there: half the bytes cross the bus."""
        facts = (self.scan, self.domain, self.target, self.segmentation)
        scan, domain, target, segmentation = (part.to(device, non_blocking=True) for part in facts)
        stored = self.volume.to(device, non_blocking=True)
        scale = self.scale.to(device, non_blocking=True).view(-1, *[1] * (stored.ndim - 1))
        # In place where the cast has made a copy already: one pass over the volumes less.
        volume = stored * scale if stored.is_floating_point() else stored.float().mul_(scale)
        ones = torch.ones_like(scale.view(-1))
        return Batch(volume, ones, scan, domain, target, segmentation)
