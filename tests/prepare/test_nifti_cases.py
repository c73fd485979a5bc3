"""NIfTI files as they come: each is prepared with a stated geometry, or refused with its rule and nothing else."""

import gzip
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scans_on_disk import SHAPE, gz, nifti, pair, save, voxels

from distunlearn.errors import UserError
from distunlearn.prepare.config import Orientation, PrepareConfig, Preprocessing
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.voxels.volume import prepare_volume

SMALL = Preprocessing(size=(16, 16, 16))
GOOD = nifti()
TURN = np.diag([2.0, 2, 2, 1])
SKEW = TURN.copy()
SKEW[:3, 1] = SKEW[:3, 0]
OBLIQUE = TURN @ np.array([[0.94, -0.342, 0, 0], [0.342, 0.94, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
NAN_AFFINE = {"srow_x": [np.nan, 0, 0, 0]}
NO_AFFINE = {"sform_code": 0, "qform_code": 0}


TYPES = ("u1", "i1", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
DIM = voxels().clip(0, 120)


def of_type(dtype: str) -> bytes:
    """Voxels of a type."""
    return nifti(DIM.astype(dtype))


def big_endian(dtype: str) -> bytes:
    """As old scanners wrote them."""
    image = nib.Nifti1Image(voxels().astype(dtype), TURN, nib.Nifti1Header(endianness=">"))
    return image.to_bytes()


def with_voxel(value: float, dtype: str = "f4") -> bytes:
    """One odd voxel."""
    data = voxels().astype(dtype)
    data[0, 0, 0] = value
    return nifti(data)


def one_bright() -> np.ndarray:
    """Nothing but one voxel."""
    data = np.zeros(SHAPE, np.int16)
    data[5, 5, 5] = 900
    return data


def with_extension() -> bytes:
    """A comment between header and voxels."""
    image = nib.Nifti1Image(voxels(), TURN)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"acquired by somebody"))
    return image.to_bytes()


ACCEPTED: dict[str, bytes] = {
    "nii": GOOD,
    "gzipped": gz(GOOD),
    "nifti2": nifti(kind=nib.Nifti2Image),
    "nifti2_gzipped": gz(nifti(kind=nib.Nifti2Image)),
    "big_endian_int16": big_endian("i2"),
    "big_endian_float32": big_endian("f4"),
    **{dtype: of_type(dtype) for dtype in TYPES},
    "gzip_in_two_members": gzip.compress(GOOD[:1000], mtime=0) + gzip.compress(GOOD[1000:], mtime=0),
    "fourth_dimension_of_one": nifti(voxels()[..., None]),
    "fifth_dimension_of_one": nifti(voxels()[..., None, None]),
    "extension_before_the_voxels": with_extension(),
    "slope_nan": nifti(scl_slope=np.nan, scl_inter=np.nan),
    "slope_zero": nifti(scl_slope=0),
    "slope_and_intercept": nifti(scl_slope=2, scl_inter=10),
    "pixdim_zero_under_an_sform": nifti(pixdim=[1, 0, 0, 0, 0, 0, 0, 0], qform_code=0),
    "sform_only": nifti(qform_code=0),
    "qform_only": nifti(sform_code=0, qform_code=1),
    "oblique": nifti(affine=OBLIQUE),
    "left_handed": nifti(affine=np.diag([-2.0, 2, 2, 1])),
    "texts_of_any_kind": nifti(descrip=b"\xff\xfe not text", intent_name=b"x" * 16, aux_file=b"../../x"),
    "calibration_absurd": nifti(cal_max=np.nan, cal_min=np.inf),
}  # fmt: skip

REFUSED: dict[str, tuple[str, bytes]] = {
    "empty": ("no-nifti", b""),
    "ten_bytes": ("no-nifti", GOOD[:10]),
    "web_page": ("no-nifti", b"<!DOCTYPE html><html>" + b" " * 4000),
    "gzipped_web_page": ("no-nifti", gz(b"<!DOCTYPE html><html>" + b" " * 4000)),
    "mgh": ("no-nifti", nib.MGHImage(voxels().astype("f4"), TURN).to_bytes()),
    "analyze_header": ("no-nifti", nifti(magic=b"")),
    "magic_of_a_pair": ("no-nifti", nifti(magic=b"ni1")),
    "sizeof_hdr_zero": ("no-nifti", nifti(sizeof_hdr=0)),
    "sizeof_hdr_of_nifti2": ("no-nifti", nifti(sizeof_hdr=540)),
    "header_cut_in_half": ("no-nifti", GOOD[:170]),
    "header_without_voxels": ("truncated", GOOD[:352]),
    "cut_in_half": ("truncated", GOOD[: len(GOOD) // 2]),
    "last_byte_missing": ("truncated", GOOD[:-1]),
    "one_byte_too_many": ("trailing-bytes", GOOD + b"\0"),
    "garbage_behind": ("trailing-bytes", GOOD + b"garbage" * 1000),
    "gzip_checksum_missing": ("gzip", gz(GOOD)[:-8]),
    "gzip_checksum_cut": ("gzip", gz(GOOD)[:-4]),
    "gzip_checksum_wrong": ("gzip", gz(GOOD)[:-8] + b"\0\0\0\0" + gz(GOOD)[-4:]),
    "gzip_length_wrong": ("gzip", gz(GOOD)[:-1] + b"\7"),
    "gzip_cut_in_half": ("gzip", gz(GOOD)[: len(gz(GOOD)) // 2]),
    "gzip_header_only": ("no-nifti", gz(GOOD)[:12]),
    "gzip_garbage_behind": ("trailing-bytes", gz(GOOD) + b"garbage"),
    "gzip_zeros_behind": ("trailing-bytes", gz(GOOD) + bytes(512)),
    "gzip_of_truncated": ("truncated", gz(GOOD[:-100])),
    "gzip_of_too_long": ("trailing-bytes", gz(GOOD + bytes(100))),
    "bomb_behind_a_small_header": ("trailing-bytes", gz(GOOD + bytes(50_000_000))),
    "bomb_promised": ("size", gz(nifti(dim=[3, 1000, 1000, 1000, 1, 1, 1, 1], datatype=64, bitpix=64))),
    "two_dimensions": ("dimensions", nifti(dim=[2, 12, 140, 1, 1, 1, 1, 1])),
    "fifty_volumes": ("dimensions", nifti(np.zeros((8, 8, 8, 50), np.int16))),
    "vectors": ("dimensions", nifti(np.zeros((8, 8, 8, 1, 3), np.int16))),
    "no_dimension": ("dimensions", nifti(dim=[0, 12, 14, 10, 1, 1, 1, 1])),
    "nine_dimensions": ("dimensions", nifti(dim=[9, 12, 14, 10, 1, 1, 1, 1])),
    "one_voxel": ("size", nifti(np.ones((1, 1, 1), np.int16))),
    "seven_voxels_a_side": ("size", nifti(np.ones((12, 7, 12), np.int16))),
    "too_many_voxels_a_side": ("size", nifti(dim=[3, 1025, 14, 10, 1, 1, 1, 1])),
    "negative_side": ("size", nifti(dim=[3, -12, 14, 10, 1, 1, 1, 1])),
    "dimensions_smaller_than_the_data": ("trailing-bytes", nifti(dim=[3, 12, 14, 9, 1, 1, 1, 1])),
    "dimensions_larger_than_the_data": ("truncated", nifti(dim=[3, 12, 14, 11, 1, 1, 1, 1])),
    "complex64": ("datatype", nifti(voxels().astype("c8"))),
    "complex128": ("datatype", nifti(voxels().astype("c16"))),
    "rgb": ("datatype", nifti(datatype=128, bitpix=24)),
    "rgba": ("datatype", nifti(datatype=2304, bitpix=32)),
    "float128": ("datatype", nifti(datatype=1536, bitpix=128)),
    "one_bit": ("datatype", nifti(datatype=1, bitpix=1)),
    "unknown_datatype": ("datatype", nifti(datatype=9999)),
    "bitpix_contradicts": ("datatype", nifti(bitpix=32)),
    "vox_offset_zero": ("vox-offset", nifti(vox_offset=0)),
    "vox_offset_in_the_header": ("vox-offset", nifti(vox_offset=348)),
    "vox_offset_nan": ("vox-offset", nifti(vox_offset=np.nan)),
    "vox_offset_far_away": ("vox-offset", nifti(vox_offset=1e9)),
    "vox_offset_with_a_fraction": ("vox-offset", nifti(vox_offset=352.5)),
    "slope_infinite": ("scaling", nifti(scl_slope=np.inf)),
    "slope_absurd": ("scaling", nifti(scl_slope=1e38)),
    "slope_negative": ("scaling", nifti(scl_slope=-1)),
    "intercept_nan": ("scaling", nifti(scl_slope=1, scl_inter=np.nan)),
    "intercept_infinite": ("scaling", nifti(scl_slope=1, scl_inter=np.inf)),
    "pixdim_nan": ("affine", nifti(pixdim=[1, np.nan, 2, 2, 1, 1, 1, 1], sform_code=0, qform_code=1)),
    "pixdim_negative": ("affine", nifti(pixdim=[1, -2, 2, 2, 1, 1, 1, 1], sform_code=0, qform_code=1)),
    "voxels_of_a_micrometre": ("zooms", nifti(affine=np.diag([1e-3, 1e-3, 1e-3, 1]))),
    "voxels_of_a_metre": ("zooms", nifti(affine=np.diag([1e3, 1e3, 1e3, 1]))),
    "sform_of_zeros": ("zooms", nifti(srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4, qform_code=0)),
    "sform_nan": ("affine", nifti(**NAN_AFFINE, qform_code=0)),
    "sform_singular": ("affine", nifti(srow_x=SKEW[0], srow_y=SKEW[1], srow_z=SKEW[2], qform_code=0)),
    "no_orientation": ("orientation", nifti(**NO_AFFINE)),
    "quaternion_impossible": ("affine", nifti(quatern_b=0.9, quatern_c=0.9, quatern_d=0.9, sform_code=0, qform_code=1)),
    "sform_and_qform_disagree": ("affines-disagree", nifti(srow_x=[-2, 0, 0, 0], qform_code=1)),
    "nan_voxel": ("not-finite", with_voxel(np.nan)),
    "infinite_voxel": ("not-finite", with_voxel(np.inf)),
    "voxel_beyond_float32": ("not-finite", with_voxel(1e300, "f8")),
    "all_zero": ("empty", nifti(np.zeros(SHAPE, np.int16))),
    "one_voxel_set": ("empty", nifti(one_bright())),
    "constant": ("constant", nifti(np.full(SHAPE, 7, np.int16))),
}  # fmt: skip


FLIPPED = {"left_handed"}
"""Cases whose affine says that the first axis goes to the left."""


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_readable_file_is_prepared_with_the_geometry_that_its_affine_states(name: str, tmp_path: Path) -> None:
    """Whatever its type, byte order and packing: the same voxels to the bit, turned as stated; mean 0, deviation 1."""
    volume = prepare_volume(save(tmp_path / "scan.nii", ACCEPTED[name]), SMALL)
    plain = prepare_volume(nifti(DIM) if name in TYPES else GOOD, SMALL).stored
    assert np.array_equal(volume.stored, plain[::-1] if name in FLIPPED else plain)
    assert volume.stored.shape == (16, 16, 4)
    assert abs(volume.z.mean()) < 1e-3
    assert abs(volume.z.std() - 1) < 1e-3


@pytest.mark.parametrize("name", REFUSED)
def test_an_unusable_file_is_refused_by_its_rule(name: str, tmp_path: Path) -> None:
    """The refusal has the rule that the file breaks and a line that says what is wrong and what to do."""
    rule, data = REFUSED[name]
    with pytest.raises(Refusal) as caught:
        prepare_volume(save(tmp_path / "scan.nii.gz", data), SMALL)
    assert caught.value.rule == rule
    assert "\n" not in caught.value.reason
    assert "; " in caught.value.reason


def test_there_are_at_least_77_cases() -> None:
    """The list of cases only grows."""
    assert len(ACCEPTED) + len(REFUSED) >= 77


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere"), lambda path: None],
                         ids=["folder", "pipe", "broken_link", "absent"])  # fmt: skip
def test_what_is_no_file_is_refused_without_waiting(make: Callable[[Path], None], tmp_path: Path) -> None:
    """A folder, a pipe that nobody writes to, a link to nowhere (datalad before `get`) and nothing at all."""
    make(tmp_path / "scan.nii")
    with pytest.raises(Refusal) as caught:
        prepare_volume(tmp_path / "scan.nii", SMALL)
    assert caught.value.rule in {"no-file", "missing-file"}


@pytest.mark.parametrize(("follow", "flipped"), [("sform", True), ("qform", False)])
def test_a_preference_decides_between_affines_that_disagree(follow: Orientation, flipped: bool) -> None:
    """With --orientation-from the scan is taken as the chosen affine says."""
    data = nifti(srow_x=[-2, 0, 0, 0], qform_code=1)
    volume = prepare_volume(data, SMALL, orientation_from=follow)
    expected = prepare_volume(nifti(), SMALL)
    assert np.array_equal(volume.stored, expected.stored[::-1] if flipped else expected.stored)


@pytest.mark.parametrize(
    ("kind", "stated"), [(nib.AnalyzeImage, "LAS"), (nib.Nifti1Pair, "agree"), (nib.Nifti1Pair, "RPI")]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_header_and_an_image_file_are_one_scan(kind: Any, stated: str, zipped: bool, tmp_path: Path) -> None:
    """ANALYZE states no axes, so that the user must; a NIfTI pair does, and is followed. Either file may be named."""
    header, data = pair(kind=kind)
    ending = ".gz" if zipped else ""
    for name, content in (("hdr", header), ("img", data)):
        save(tmp_path / f"scan.{name}{ending}", gz(content) if zipped else content)
    for name in ("hdr", "img"):
        volume = prepare_volume(tmp_path / f"scan.{name}{ending}", SMALL, orientation_from=stated)
        assert np.array_equal(volume.stored, prepare_volume(ACCEPTED["left_handed"], SMALL).stored)


@pytest.mark.parametrize(
    ("rule", "axes", "change"),
    [
        ("orientation", "agree", lambda folder: None),
        ("missing-file", "LAS", lambda folder: (folder / "scan.hdr").unlink()),
        ("missing-file", "LAS", lambda folder: (folder / "scan.img").unlink()),
        ("truncated", "LAS", lambda folder: save(folder / "scan.img", pair()[1][:-1])),
        ("trailing-bytes", "LAS", lambda folder: save(folder / "scan.img", pair()[1] + b"x")),
        ("no-nifti", "LAS", lambda folder: save(folder / "scan.hdr", b"text")),
        ("zooms", "LAS", lambda folder: save(folder / "scan.hdr", pair()[0][:76] + bytes(32) + pair()[0][108:])),
    ],
)
def test_an_unusable_pair_is_refused(rule: str, axes: str, change: Callable[[Path], object], tmp_path: Path) -> None:
    """As a single file would be; an ANALYZE whose axes are not stated too."""
    for name, content in zip(("hdr", "img"), pair(), strict=True):
        save(tmp_path / f"scan.{name}", content)
    change(tmp_path)
    with pytest.raises(Refusal) as caught:
        prepare_volume(tmp_path / "scan.img", SMALL, orientation_from=axes)
    assert caught.value.rule == rule


def test_stated_axes_are_those_of_files_that_say_nothing_and_of_no_others() -> None:
    """All 48 ways to name them; a file with an affine is not turned by them."""
    silent = nifti(**NO_AFFINE)
    for ornt in itertools.product((1, -1), repeat=3):
        for order in itertools.permutations(range(3)):
            turned = nib.Nifti1Image(voxels(), TURN).as_reoriented(np.array(list(zip(order, ornt, strict=True))))
            axes = "".join(nib.aff2axcodes(turned.affine))
            raw = nifti(np.asarray(turned.dataobj), **NO_AFFINE)
            prepared = prepare_volume(raw, SMALL, orientation_from=axes)
            assert np.array_equal(prepared.stored, prepare_volume(GOOD, SMALL).stored)
    assert np.array_equal(
        prepare_volume(ACCEPTED["left_handed"], SMALL, orientation_from="RAS").stored,
        prepare_volume(silent, SMALL, orientation_from="LAS").stored,
    )


@pytest.mark.parametrize("axes", ["LAX", "LR", "LLS", "LRA", "las", "left", ""])
def test_axes_that_cannot_be_are_refused_at_once(axes: str) -> None:
    """Three letters, one of each of L and R, A and P, S and I."""
    with pytest.raises(UserError, match="give agree, sform or qform"):
        PrepareConfig.read({"orientation_from": axes}, "test")


def test_slope_and_intercept_change_the_recorded_intensities_and_not_the_volume() -> None:
    """`z` does not depend on the scaling; mean and sd are in the scaled units."""
    plain, scaled = prepare_volume(nifti(), SMALL), prepare_volume(nifti(scl_slope=2, scl_inter=10), SMALL)
    assert np.array_equal(plain.stored, scaled.stored)
    assert scaled.mean == pytest.approx(2 * plain.mean + 10)
    assert scaled.sd == pytest.approx(2 * plain.sd)
