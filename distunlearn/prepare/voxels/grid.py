"""The grid of a prepared scan: which box of it is taken, and which of its voxels each prepared voxel is made of."""

import numpy as np
from jaxtyping import Float32, Num, Shaped

HEAD_SHARE = 0.1
"""A voxel is head when it is brighter than this share of the 98th percentile."""
HEAD_MARGIN = 2
"""Voxels that stay around the head."""

Box = tuple[slice, slice, slice]
WHOLE: Box = (slice(None), slice(None), slice(None))


def resample(
    voxels: Num[np.ndarray, "X Y Z"], size: tuple[int, int, int], *, keep_every: int
) -> Float32[np.ndarray, "W H D"]:
    """Resize (X, Y, Z) to `size` by trilinear interpolation and keep every `keep_every`-th plane of the last axis.

    Equal to `torch.nn.functional.interpolate(mode="trilinear", align_corners=False)` followed by the slicing, but the
    planes that would be thrown away are never computed: 2 taps along z first, then 2 along each axis of the plane.

    Returns:
        (W, H, ceil(D / keep_every)), C order.
    """
    axes = [taps(n, m) for n, m in zip(voxels.shape, size, strict=True)]
    axes[2] = tuple(tap[::keep_every] for tap in axes[2])
    memory = np.argsort([-abs(stride) for stride in voxels.strides], kind="stable")  # slowest axis first
    values = voxels.transpose(memory)
    # z first, because it drops most; then the slower axis of the plane, whose rows are contiguous.
    order = [2, *(int(axis) for axis in memory if axis != 2)]
    for axis in order:
        values = _lerp(values, int(np.flatnonzero(memory == axis)[0]), axes[axis])
    return np.ascontiguousarray(values.transpose(np.argsort(memory)))


def pick_nearest(
    voxels: Num[np.ndarray, "X Y Z"], size: tuple[int, int, int], *, keep_every: int
) -> Num[np.ndarray, "W H D"]:
    """As `resample`, but each voxel is its nearest neighbour's: for segmentations, whose values must not mix."""
    nearest = []
    for n, m in zip(voxels.shape, size, strict=True):
        low, high, weight = taps(n, m)
        nearest.append(np.where(weight < 0.5, low, high))
    nearest[2] = nearest[2][::keep_every]
    return voxels[np.ix_(*nearest)]


def taps(n: int, m: int) -> tuple[Shaped[np.ndarray, " m"], ...]:
    """For m samples over n voxels, the two neighbours of each and the weight of the second (half-pixel centres)."""
    # float32 throughout, as torch computes it: equal positions give equal values
    ratio = np.float32(n) / np.float32(m)
    position = np.maximum((np.arange(m, dtype=np.float32) + np.float32(0.5)) * ratio - np.float32(0.5), np.float32(0))
    low = np.minimum(position.astype(np.intp), n - 1)
    return low, np.minimum(low + 1, n - 1), position - low.astype(np.float32)


def head_box(voxels: Num[np.ndarray, "X Y Z"]) -> Box:
    """The box around the voxels brighter than a tenth of the 98th percentile, with two voxels of margin.

    A plane belongs to the box when at least 1 % of its voxels are that bright, so that single bright voxels of noise
    do not count. Looks at every second voxel of each axis.
    """
    coarse = voxels[::2, ::2, ::2].astype(np.float32)
    bright = coarse > HEAD_SHARE * np.percentile(coarse, 98)
    box = []
    for axis, n in enumerate(voxels.shape):
        share = bright.mean(axis=tuple(a for a in range(3) if a != axis))
        inside = np.flatnonzero(share >= 0.01)
        if not len(inside):
            return WHOLE
        box.append(slice(max(0, 2 * int(inside[0]) - HEAD_MARGIN), min(n, 2 * int(inside[-1]) + 1 + HEAD_MARGIN)))
    return box[0], box[1], box[2]


def _lerp(
    values: Num[np.ndarray, "A B C"], axis: int, pair: tuple[Shaped[np.ndarray, " m"], ...]
) -> Float32[np.ndarray, "P Q R"]:
    low, high, weight = pair
    shape = [1, 1, 1]
    shape[axis] = len(weight)
    second = weight.reshape(shape)
    first = np.float32(1) - second
    out: Float32[np.ndarray, "P Q R"] = values.take(low, axis).astype(np.float32)
    out *= first
    other = values.take(high, axis).astype(np.float32)
    other *= second
    out += other
    return out
