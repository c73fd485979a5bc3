"""Resizing of the kept planes, against torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from distunlearn.prepare.voxels.grid import head_box, resample

SIZE = (24, 20, 16)


@pytest.mark.parametrize("shape", [(30, 41, 27), (24, 20, 16), (11, 9, 8), (64, 17, 33)], ids=str)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)], ids=str)
def test_resample_equals_torch_trilinear_whatever_the_memory_order(
    shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    """The kept planes are those of F.interpolate(align_corners=False), for any axis order and direction in memory."""
    values = np.random.default_rng(0).integers(-50, 1000, shape).astype(np.int16)
    view = np.asfortranarray(values.transpose(axes)).transpose(np.argsort(axes))
    flipped = np.ascontiguousarray(values[::-1, :, ::-1])[::-1, :, ::-1]
    expected = F.interpolate(torch.from_numpy(values)[None, None].float(), SIZE, mode="trilinear", align_corners=False)
    expected = expected[0, 0, :, :, ::4].numpy()
    for same in (values, view, flipped):
        np.testing.assert_allclose(resample(same, SIZE, keep_every=4), expected, atol=2e-3)


def test_resample_of_the_same_grid_changes_nothing() -> None:
    """A scan that already has the size comes out voxel by voxel as it was."""
    values = np.random.default_rng(1).normal(size=SIZE).astype(np.float32)
    assert np.array_equal(resample(values, SIZE, keep_every=1), values)


def test_a_slice_count_that_does_not_divide_keeps_the_last_started_step() -> None:
    """16 planes, every 5th: planes 0, 5, 10, 15."""
    values = np.zeros(SIZE, np.float32) + np.arange(SIZE[2], dtype=np.float32)
    assert resample(values, SIZE, keep_every=5)[0, 0].tolist() == [0, 5, 10, 15]


def test_crop_keeps_the_head_and_a_margin_and_ignores_single_bright_voxels() -> None:
    """The box is the bright block plus two voxels, although a lone voxel of noise lies far outside it."""
    values = np.zeros((60, 60, 60), np.int16)
    values[20:40, 10:50, 30:50] = 500
    values[2, 2, 2] = 900
    cropped = values[head_box(values)]
    assert cropped.sum() == values.sum() - 900
    assert all(side <= block + 6 for side, block in zip(cropped.shape, (20, 40, 20), strict=True))
