"""A NIfTI header, checked before any voxel is read: what it promises is what will be unpacked, and no more."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from distunlearn.prepare.config import Orientation
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.voxels.affine import Affine, check_affine

SIDES = (8, 1024)
MAX_BYTES = 2**31
"""Most voxel bytes of a scan; a header that promises more is refused before anything is read."""
KINDS: dict[int, tuple[Any, bytes]] = {348: (Nifti1Header, b"n+1"), 540: (Nifti2Header, b"n+2")}
"""Header class and magic by `sizeof_hdr`."""
PAIRS: dict[int, tuple[Any, bytes]] = {348: (Nifti1Header, b"ni1"), 540: (Nifti2Header, b"ni2")}
"""The same of a header that has a file of its own."""
READABLE = "iuf"
"""Kinds of numpy dtypes that hold an intensity: signed, unsigned, floating."""


@dataclass(frozen=True)
class Header:
    """What must be known to read a scan's voxels."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    """Of the first voxel, in bytes."""
    affine: Affine
    slope: float
    intercept: float

    @property
    def length(self) -> int:
        """Bytes that the whole file has when unpacked."""
        return self.offset + int(np.prod(self.shape)) * self.dtype.itemsize


def read_header(start: bytes, orientation_from: Orientation, *, pair: bool = False) -> Header:
    """Check the first bytes of a NIfTI-1, NIfTI-2 or ANALYZE 7.5 file of either byte order.

    Args:
        start: the first bytes.
        orientation_from: see `PrepareConfig`.
        pair: whether they are those of a .hdr, whose voxels are in an .img.

    Raises:
        Refusal: with the rule that it breaks.
    """
    header = _parse_pair(start) if pair else _parse(start)
    shape = _shape(header)
    dtype = _dtype(header)
    offset = _offset(header, least=0 if pair else int(header["sizeof_hdr"]) + 4)
    checked = Header(shape, dtype, offset, check_affine(header, orientation_from), *_scaling(header))
    if checked.length - offset > MAX_BYTES:
        raise Refusal("size", f"promises more than {MAX_BYTES // 2**30} GiB of voxels; resample it first")
    return checked


def _parse(start: bytes) -> Any:
    size, order = _size(start)
    kind, magic = KINDS[size]
    header = kind(start[:size], endianness=order, check=False)
    if bytes(header["magic"]).rstrip(b"\0") != magic:
        raise Refusal("no-nifti", "is no single-file NIfTI (wrong magic); convert it, e.g. with mri_convert")
    return header


def _parse_pair(start: bytes) -> Any:
    size, order = _size(start)
    kind, magic = PAIRS[size]
    header = kind(start[:size], endianness=order, check=False)
    if bytes(header["magic"]).rstrip(b"\0") == magic:
        return header
    return AnalyzeHeader(start[:348], endianness=order, check=False)  # ANALYZE knows no magic


def _size(start: bytes) -> tuple[int, str]:
    """What `sizeof_hdr` says, in the byte order in which it makes sense."""
    if not start:
        raise Refusal("no-nifti", "is empty; copy it again")
    for order in ("<", ">"):
        size = int(np.frombuffer(start[:4].ljust(4, b"\0"), f"{order}i4")[0])
        if size in KINDS and len(start) >= size:
            return size, order
    raise Refusal("no-nifti", "is no NIfTI file; convert it, e.g. with dcm2niix or mri_convert")


def _shape(header: Any) -> tuple[int, int, int]:
    dims = [int(n) for n in header["dim"]]
    shape = tuple(dims[1 : dims[0] + 1])
    if not 3 <= dims[0] <= 7 or any(n != 1 for n in shape[3:]):
        raise Refusal("dimensions", "does not hold one 3-D volume; take the one that you mean out of it")
    if min(shape[:3]) < SIDES[0] or max(shape[:3]) > SIDES[1]:
        voxels = "×".join(map(str, shape[:3]))
        raise Refusal("size", f"has {voxels} voxels; each side must be {SIDES[0]} to {SIDES[1]}; resample it first")
    return shape[0], shape[1], shape[2]


def _offset(header: Any, *, least: int) -> int:
    offset = float(header["vox_offset"])
    if not (np.isfinite(offset) and offset == int(offset) and least <= offset <= 2**24):
        raise Refusal("vox-offset", "has an impossible vox_offset; write it again with any NIfTI tool")
    return int(offset)


def _dtype(header: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(header.get_data_dtype())
    except Exception:  # noqa: BLE001 - nibabel raises what it likes on an unknown code
        raise Refusal("datatype", "has an unknown datatype; convert it to int16 or float32") from None
    if dtype.kind not in READABLE or dtype.itemsize > 8:
        raise Refusal("datatype", "does not hold one real number a voxel; convert it to int16 or float32")
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise Refusal("datatype", "has a datatype and a bitpix that contradict each other; write it again")
    return dtype.newbyteorder(header.endianness)


def _scaling(header: Any) -> tuple[float, float]:
    if "scl_slope" not in header.keys():  # noqa: SIM118 - a header is no dict
        return 1.0, 0.0  # ANALYZE knows none
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0  # the standard's "not scaled"
    if not (1e-30 < slope < 1e30) or not abs(intercept) < 1e30:
        raise Refusal("scaling", "has a negative, infinite or absurd scl_slope or scl_inter; write it again without")
    return slope, intercept
