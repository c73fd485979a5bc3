"""Does a new scan look like those of the training? Its voxel size, and what its prepared volume shows.

Every scan is resized to the same grid, so that a field of view unlike the training's shows there: in how much of the
grid the head fills, and in how rough neighbouring voxels are along each axis.

Dimensions: `B` scans, `L` looks.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from distunlearn.batch import Batch
from distunlearn.shard_format import Range, joined

LOOKS = {
    "extent_x": "geometry: the head's share of the volume from left to right",
    "extent_y": "geometry: the head's share of the volume from back to front",
    "extent_z": "geometry: the head's share of the volume from bottom to top",
    "rough_x": "geometry: differences between neighbouring voxels from left to right",
    "rough_y": "geometry: differences between neighbouring voxels from back to front",
    "rough_z": "geometry: differences between neighbouring voxels from bottom to top",
    "background": "intensity: brightness of the background",
    "dark": "intensity: brightness of the head's darker quarter",
    "middle": "intensity: brightness of the head's middle",
    "bright": "intensity: brightness of the head's brighter quarter",
}
"""What is looked at, and what it is called in a warning."""
MARGIN = 0.25
"""Of the range of the training scans, by which a new one may lie outside it unremarked."""
AXES = ("from left to right", "from back to front", "from bottom to top")
COARSER = 1.25
"""How many times larger than any in training, or smaller, a voxel may be unremarked."""


def looks(volume: Float[Tensor, "B 1 W H D"]) -> Float[Tensor, "B L"]:
    """The figures of `LOOKS` of prepared volumes, one row a scan; the whole batch at once, a GPU is not waited for."""
    scans = volume[:, 0].float()
    flat = scans.flatten(1)
    values = flat.sort(dim=1).values
    voxels = flat.shape[1]
    background, top = values[:, int(0.02 * voxels)], values[:, int(0.98 * (voxels - 1))]
    head = scans > (background + 0.1 * (top - background)).view(-1, 1, 1, 1)
    planes = [head.float().mean(dim=[1 + other for other in range(3) if other != axis]) for axis in range(3)]
    extents = [(plane >= 0.01).float().mean(dim=1) for plane in planes]
    spread = flat.std(dim=1).clamp_min(1e-6)
    rough = [scans.diff(dim=1 + axis).abs().flatten(1).mean(dim=1) / spread for axis in range(3)]
    quarters = _quarters(flat, head.flatten(1) | ~head.flatten(1).any(dim=1, keepdim=True))
    return torch.stack([*extents, *rough, background, *quarters], dim=1)


def _quarters(values: Float[Tensor, "B V"], among: Bool[Tensor, "B V"]) -> list[Float[Tensor, " B"]]:
    """The three quartiles of each scan's values at some of its voxels."""
    inside = torch.where(among, values, torch.inf).sort(dim=1).values
    last = among.sum(dim=1, keepdim=True).double() - 1
    return [inside.gather(1, (share * last).long()).squeeze(1) for share in (0.25, 0.5, 0.75)]


class Seen:
    """The range of every look over the training scans that pass by."""

    def __init__(self, rows: Collection[int]) -> None:
        self._rows = set(rows)
        self.ends = torch.empty(0, len(LOOKS))
        """Least and greatest, (2, L); (0, L) while nothing was seen."""

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Hand on normalised batches of volumes, and look at those of the training; tables of features pass unseen."""
        for batch in batches:
            mine = torch.tensor([row in self._rows for row in batch.scan.tolist()], dtype=torch.bool)
            if batch.volume.ndim == 5 and mine.any():
                found = looks(batch.volume[mine.to(batch.volume.device)]).cpu()
                self.ends = torch.stack(torch.cat([self.ends, found]).aminmax(dim=0))
            yield batch


def ranges(ends: Float[Tensor, "n L"]) -> dict[str, Range]:
    """Ends of all ranks as the card holds them: least and greatest of each look; empty where no volumes were seen."""
    if not len(ends):
        return {}
    return {
        name: (float(column.min()), float(column.max())) for name, column in zip(LOOKS, ends.T.double(), strict=True)
    }


def voxel_ranges(sites: Sequence[tuple[Range, ...]]) -> tuple[Range, ...]:
    """The range of voxel sizes along each axis over sites; none if some site does not know its own."""
    return joined(sites) if all(sites) else ()


def unlike_voxels(voxel_mm: Sequence[float], training: Sequence[Range]) -> list[str]:
    """A warning for each axis along which a scan's voxels are much larger or smaller than any of the training's."""
    return [
        f"geometry: voxels are {size:.3g} mm {axis}, {low:.3g} to {high:.3g} in training"
        for size, axis, (low, high) in zip(voxel_mm, AXES, training, strict=False)
        if not low / COARSER <= size <= high * COARSER
    ]


def unlike(found: Float[Tensor, " L"], training: dict[str, Range]) -> list[str]:
    """A warning for each look of one scan that lies outside the training's range and a quarter of it to either side."""
    return [
        f"{LOOKS[name]} is {value:.3g}, {training[name][0]:.3g} to {training[name][1]:.3g} in training"
        for name, value in zip(LOOKS, found.tolist(), strict=True)
        if name in training and _outside(value, *training[name])
    ]


def _outside(value: float, low: float, high: float) -> bool:
    margin = MARGIN * (high - low) + 1e-6
    return not low - margin <= value <= high + margin
