"""Orientation, masks and fuzzed bytes: the same head gives the same volume, and nothing damaged gets through."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scans_on_disk import gz, nifti, voxels

from distunlearn.prepare.config import Preprocessing
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.voxels.volume import Volume, prepare_volume

SMALL = Preprocessing(size=(16, 16, 16))
REFERENCE = prepare_volume(nifti(), SMALL)
ZIPPED = gz(nifti())


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)), ids=str)
def test_all_48_orders_and_directions_of_axes_give_the_same_volume(
    axes: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    """However a scanner stores a head, the affine says how it lies, and the volume is the same to the bit."""
    image = nib.Nifti1Image(voxels(), np.diag([2.0, 2, 2, 1]))
    turned = image.as_reoriented(np.array(list(zip(axes, flips, strict=True)), dtype=float))
    assert np.array_equal(prepare_volume(turned.to_bytes(), SMALL).stored, REFERENCE.stored)


def test_the_first_axis_goes_to_the_right_and_the_last_up() -> None:
    """A block in the left, front, top eighth of the head ends there in the volume: low x, high y, high z."""
    data = np.ones((16, 16, 16), np.int16)
    data[:6, 10:, 10:] = 800
    z = prepare_volume(nifti(data), SMALL).z
    assert z[:6, 10:, 3:].min() > z[8:, :8, :2].max()


def test_cropping_takes_an_off_centre_head_to_the_same_volume_as_a_centred_one() -> None:
    """The empty border is gone before resizing, wherever the head lay in it."""
    head = np.zeros((40, 40, 40), np.int16)
    head[8:24, 10:26, 6:22] = voxels(shape=(16, 16, 16)) + 200
    cropping = Preprocessing(size=(16, 16, 16), crop="head")
    one, other = (
        prepare_volume(nifti(head), cropping),
        prepare_volume(nifti(np.roll(head, (6, 4, 8), (0, 1, 2))), cropping),
    )
    assert np.array_equal(one.stored, other.stored)
    assert not np.array_equal(one.stored, prepare_volume(nifti(head), SMALL).stored)


def test_normalising_over_the_brain_ignores_the_zero_background() -> None:
    """Inside the brain the mean is 0 and the deviation 1; without a background there is no brain to be told."""
    head = np.zeros((16, 16, 16), np.int16)
    head[4:12, 4:12, :] = voxels(shape=(8, 8, 16)) + 200
    over_brain = Preprocessing(size=(16, 16, 16), normalise="brain")
    z = prepare_volume(nifti(head), over_brain).z[4:12, 4:12]
    assert abs(z.mean()) < 1e-3
    assert abs(z.std() - 1) < 1e-3
    with pytest.raises(Refusal, match="zero background"):
        prepare_volume(nifti(voxels(shape=(16, 16, 16))), over_brain)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.integers(0, 351), st.integers(0, 255), min_size=1, max_size=8))
def test_any_change_of_header_bytes_is_prepared_or_refused(edits: dict[int, int]) -> None:
    """No header, however wrong, raises anything but a refusal; what is accepted is finite."""
    data = bytearray(nifti())
    for position, value in edits.items():
        data[position] = value
    try:
        volume = prepare_volume(bytes(data), SMALL)
    except Refusal:
        return
    assert isinstance(volume, Volume)
    assert np.isfinite(volume.z).all()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(ZIPPED) * 8 - 1))
def test_a_flipped_bit_of_a_gzipped_scan_is_refused_or_harmless(bit: int) -> None:
    """The checksum is looked at: no flip changes a voxel unnoticed."""
    data = bytearray(ZIPPED)
    data[bit // 8] ^= 1 << bit % 8
    try:
        volume = prepare_volume(bytes(data), SMALL)
    except Refusal:
        return
    assert np.array_equal(volume.stored, REFERENCE.stored)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(ZIPPED) - 1))
def test_a_gzipped_scan_that_was_cut_anywhere_is_refused(length: int) -> None:
    """A copy that stopped early never passes."""
    with pytest.raises(Refusal):
        prepare_volume(ZIPPED[:length], SMALL)
