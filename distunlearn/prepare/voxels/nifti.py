"""One scan's file into an array and an affine, or a refusal with its rule; nothing is believed before it is checked."""

import re
import stat
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from isal import isal_zlib
from isal.igzip_lib import IsalError
from jaxtyping import Num

from distunlearn.prepare.config import Orientation
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.voxels.affine import Affine
from distunlearn.prepare.voxels.header import Header, read_header

Source = Path | bytes
GZIP = b"\x1f\x8b"
PAIR = re.compile(r"(.+)\.(hdr|img)(\.gz)?")
HEADER_BYTES = 1024
ENOUGH_ZIPPED = 65536
"""Bytes of a gzip file that certainly hold the first `HEADER_BYTES` of what is in it."""


@dataclass(frozen=True)
class Image:
    """A checked scan."""

    voxels: Num[np.ndarray, "I J K"]
    """In Fortran order, as stored: not scaled."""
    affine: Affine
    """Voxel to world, mm."""
    slope: float
    intercept: float


def read_nifti(source: Source, *, orientation_from: Orientation = "agree") -> Image:
    """Read a .nii, .nii.gz or .hdr/.img pair wholly, with the gzip checksum, after its header has passed.

    Args:
        source: the file, either file of a pair, or the bytes of a .nii or .nii.gz.
        orientation_from: see `PrepareConfig`.

    Raises:
        Refusal: with the rule that the file breaks.
    """
    header = check_nifti(source, orientation_from=orientation_from)
    with _open(_files(source)[1]) as stream:
        if stream.seek(0, 2) > header.length + header.length // 1000 + ENOUGH_ZIPPED:  # gzip never adds so much
            raise Refusal("trailing-bytes", "is larger than its header promises; write it again with any NIfTI tool")
        stream.seek(0)
        data = stream.read()
    data = _inflate(data, header.length, whole=True) if data[:2] == GZIP else data
    if len(data) < header.length:
        raise Refusal(
            "truncated", f"holds {len(data)} of the {header.length} bytes that its header promises; copy it again"
        )
    if len(data) > header.length:
        raise Refusal("trailing-bytes", "goes on after its last voxel; write it again with any NIfTI tool")
    voxels = np.frombuffer(data, header.dtype, offset=header.offset).reshape(header.shape, order="F")
    _check_finite(voxels)
    return Image(voxels, header.affine, header.slope, header.intercept)


def check_nifti(source: Source, *, orientation_from: Orientation = "agree") -> Header:
    """Read and check no more than the header of a file: a millisecond, for a dry run.

    Raises:
        Refusal: with the rule that the header breaks.
    """
    first, second = _files(source)
    with _open(first) as stream:
        start = stream.read(ENOUGH_ZIPPED)
    if start[:2] == GZIP:
        start = _inflate(start, HEADER_BYTES, whole=False)
    return read_header(start, orientation_from, pair=first != second)


def files_of(path: Path) -> tuple[Path, Path]:
    """Where the header is and where the voxels are: in one file, or in the two of an ANALYZE or NIfTI pair."""
    match = PAIR.fullmatch(path.name)
    if not match:
        return path, path
    stem, packed = match[1], match[3] or ""
    return path.with_name(f"{stem}.hdr{packed}"), path.with_name(f"{stem}.img{packed}")


def _files(source: Source) -> tuple[Source, Source]:
    return (source, source) if isinstance(source, bytes) else files_of(source)


def _open(source: Source) -> BufferedReader | BytesIO:
    if isinstance(source, bytes):
        return BytesIO(source)
    try:
        if not stat.S_ISREG(source.stat().st_mode):  # a pipe would be waited for
            raise Refusal("no-file", "is no regular file; name the file itself")
        return source.open("rb")
    except FileNotFoundError:
        raise Refusal("missing-file", "is not there, or is a link to nowhere; with datalad, get it first") from None
    except OSError as error:
        raise Refusal("unreadable", f"cannot be opened ({error.strerror}); look at who may read it") from None


def _inflate(data: bytes, length: int, *, whole: bool) -> bytes:
    """Gunzip up to `length` bytes; with `whole`, insist that the stream is complete, right, and not a byte longer.

    Never unpacks more than one byte beyond `length`, so that a gzip bomb costs no more than its header admits.
    """
    parts: list[bytes] = []
    missing = length
    try:
        while True:  # bgzip writes many streams one behind the other
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


def _check_finite(voxels: Num[np.ndarray, "I J K"]) -> None:
    if voxels.dtype.kind != "f":
        return
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Refusal("not-finite", "holds NaN or infinite voxels; replace them, e.g. by 0 outside the brain")
    if max(-low, high) > 1e30:
        raise Refusal("not-finite", "holds voxels beyond 1e30; rescale it")
