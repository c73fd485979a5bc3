"""One rank's share of a step: scans as they are stored, and what is known about them."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


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

    def to(self, device: torch.device | str) -> "Batch":
        """Copy the batch to a device and turn stored values into normalised ones there: half the bytes cross the bus."""
        scan, domain, target = (part.to(device, non_blocking=True) for part in (self.scan, self.domain, self.target))
        stored = self.volume.to(device, non_blocking=True)
        scale = self.scale.to(device, non_blocking=True).view(-1, *[1] * (stored.ndim - 1))
        # In place where the cast has made a copy already: one pass over the volumes less.
        volume = stored * scale if stored.is_floating_point() else stored.float().mul_(scale)
        return self._replace(
            volume=volume, scale=torch.ones_like(scale.view(-1)), scan=scan, domain=domain, target=target
        )
