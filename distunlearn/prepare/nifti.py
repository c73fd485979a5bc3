"""One NIfTI file into an array and an affine, or a refusal with its rule; nothing is believed before it is checked."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from isal.igzip_lib import IsalError
from jaxtyping import Float, Num
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from distunlearn.prepare.affine import check_affine
from distunlearn.prepare.config import Orientation
from distunlearn.prepare.refusal import Refusal

SIDES = (8, 1024)
MAX_BYTES = 2**31
"""Most voxel bytes of a scan; a header that promises more is refused before anything is read."""
GZIP = b"\x1f\x8b"
HEADERS: dict[int, tuple[Any, bytes]] = {348: (Nifti1Header, b"n+1\0"), 540: (Nifti2Header, b"n+2\0\r\n\x1a\n")}
READABLE = "iuf"
"""Kinds of numpy dtypes that hold an intensity: signed, unsigned, floating."""


@dataclass(frozen=True)
class Image:
    """A checked scan."""

    voxels: Num[np.ndarray, "I J K"]
    """(I, J, K) in Fortran order, as stored: not scaled."""
    affine: Float[np.ndarray, "4 4"]
    """(4, 4) voxel to world, mm."""
    slope: float
    intercept: float


def read_nifti(source: Path | bytes, *, orientation_from: Orientation = "agree") -> Image:
    """Read a .nii or .nii.gz wholly, with the gzip checksum, after its header has passed.

    Args:
        source: the file, or its bytes.
        orientation_from: which affine to follow when sform and qform disagree.

    Raises:
        Refusal: with the rule that the file breaks.
    """
    data = source if isinstance(source, bytes) else _read_file(source)
    zipped = data[:2] == GZIP
    header = _header(_inflate(data[:65536], 1024, whole=False) if zipped else data[:1024])
    shape, dtype, offset = _layout(header)
    affine = check_affine(header, orientation_from)
    slope, intercept = _scaling(header)
    length = offset + int(np.prod(shape)) * dtype.itemsize
    data = _inflate(data, length, whole=True) if zipped else data
    if len(data) < length:
        raise Refusal("truncated", f"holds {len(data)} of the {length} bytes that its header promises; copy it again")
    if len(data) > length:
        raise Refusal("trailing-bytes", "goes on after its last voxel; write it again with any NIfTI tool")
    voxels = np.frombuffer(data, dtype, offset=offset).reshape(shape, order="F")
    _check_finite(voxels)
    return Image(voxels, affine, slope, intercept)


def _read_file(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Refusal("no-file", "is no regular file")
        return path.read_bytes()
    except FileNotFoundError:
        raise Refusal("missing-file", "is not there, or is a link to nowhere; with datalad, get it first") from None
    except OSError as error:
        raise Refusal("unreadable", f"cannot be read ({error.strerror})") from None


def _inflate(data: bytes, length: int, *, whole: bool) -> bytes:
    """Gunzip up to `length` bytes; with `whole`, insist that the stream is complete, right, and not a byte longer."""
    parts: list[bytes] = []
    missing = length
    try:
        while True:
            stream = isal_zlib.decompressobj(wbits=31)
            parts.append(stream.decompress(data, missing + 1))
            missing -= len(parts[-1])
            data = stream.unused_data
            if not stream.eof or not data:
                break
            if data[:2] != GZIP:
                raise Refusal("trailing-bytes", "goes on after the end of its gzip stream; compress it again")
    except (IsalError, EOFError):  # type: ignore[misc] # its stub calls the class an instance
        raise Refusal("gzip", "is damaged: its gzip stream or checksum is wrong; copy it again") from None
    if whole and missing < 0:
        raise Refusal("trailing-bytes", "unpacks to more than its header promises; write it again with any NIfTI tool")
    if whole and not stream.eof:
        raise Refusal("gzip", "is cut off: its gzip stream does not end; copy it again")
    return b"".join(parts)


def _header(start: bytes) -> Any:
    for order in ("<", ">"):
        size = int(np.frombuffer(start[:4].ljust(4, b"\0"), f"{order}i4")[0])
        if size in HEADERS and len(start) >= size:
            kind, magic = HEADERS[size]
            header = kind(start[:size], endianness=order, check=False)
            if bytes(header["magic"]).rstrip(b"\0") != magic.rstrip(b"\0"):
                raise Refusal(
                    "no-nifti", "is no single-file NIfTI (wrong magic); convert it, e.g. with dcm2niix or mri_convert"
                )
            return header
    raise Refusal("no-nifti", "is no NIfTI file; convert it, e.g. with dcm2niix or mri_convert")


def _layout(header: Any) -> tuple[tuple[int, int, int], np.dtype[Any], int]:
    dims = [int(n) for n in header["dim"]]
    shape = tuple(dims[1 : dims[0] + 1])
    if not 3 <= dims[0] <= 7 or any(n != 1 for n in shape[3:]):
        raise Refusal("dimensions", f"has dimensions {shape}; one 3-D volume is needed")
    if min(shape) < 1 or min(shape[:3]) < SIDES[0] or max(shape) > SIDES[1]:
        raise Refusal("size", f"has {'×'.join(map(str, shape[:3]))} voxels; each side must be {SIDES[0]} to {SIDES[1]}")
    dtype = _dtype(header)
    offset = float(header["vox_offset"])
    if not (np.isfinite(offset) and offset == int(offset) and int(header["sizeof_hdr"]) + 4 <= offset <= 2**24):
        raise Refusal("vox-offset", "says that its voxels begin inside its header; write it again with any NIfTI tool")
    if int(np.prod(shape)) * dtype.itemsize > MAX_BYTES:
        raise Refusal("size", f"promises more than {MAX_BYTES // 2**30} GiB of voxels; resample it first")
    return (shape[0], shape[1], shape[2]), dtype, int(offset)


def _dtype(header: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(header.get_data_dtype())
    except Exception:  # noqa: BLE001 - nibabel raises what it likes on an unknown code
        raise Refusal("datatype", "has an unknown datatype; convert it to int16 or float32") from None
    if dtype.kind not in READABLE or dtype.itemsize > 8:
        raise Refusal("datatype", "does not hold one real number a voxel; convert it to int16 or float32")
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise Refusal(
            "datatype", "has a datatype and a bitpix that contradict each other; write it again with any NIfTI tool"
        )
    return dtype.newbyteorder(header.endianness)


def _scaling(header: Any) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0  # the standard's "not scaled"
    if not (1e-30 < slope < 1e30) or not abs(intercept) < 1e30:
        raise Refusal(
            "scaling", "has a negative, infinite or absurd scl_slope or scl_inter; write it again without scaling"
        )
    return slope, intercept


def _check_finite(voxels: Num[np.ndarray, "I J K"]) -> None:
    if voxels.dtype.kind != "f":
        return
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Refusal("not-finite", "holds NaN or infinite voxels; replace them, e.g. by 0 outside the brain")
    if max(-low, high) > 1e30:
        raise Refusal("not-finite", "holds voxels beyond 1e30; rescale it")
