"""Scans and data sets made in code, as labs have them and as nobody should."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from distunlearn.prepare import PrepareConfig, Summary, shard
from distunlearn.shard_format import Manifest

SHAPE = (12, 14, 10)
SMALL: dict[str, Any] = {"preprocessing": {"size": (16, 16, 16)}, "workers": 1}
"""Options that keep a test quick."""


def voxels(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Noise, brighter to the right, front and top, so that no two orientations look alike."""
    ramp = sum(
        np.linspace(0, 100 * (n + 1), side).reshape([-1 if a == n else 1 for a in range(len(shape))])
        for n, side in enumerate(shape)
    )
    return (ramp + np.random.default_rng(seed).integers(1, 400, shape)).astype(np.int16)


def nifti(
    data: np.ndarray | None = None, affine: np.ndarray | None = None, *, kind: Any = nib.Nifti1Image, **header: Any
) -> bytes:
    """The bytes of a NIfTI file, with header fields overwritten as named, valid or not."""
    data = voxels() if data is None else data
    image = kind(data, np.diag([2.0, 2, 2, 1]) if affine is None else affine, dtype=data.dtype)
    image.header.set_xyzt_units("mm")
    size = 348 if kind is nib.Nifti1Image else 540
    raw = bytearray(image.to_bytes())
    fields = kind.header_class(bytes(raw[:size]), check=False)
    for name, value in header.items():
        fields.structarr[name] = value
    raw[:size] = fields.binaryblock
    return bytes(raw)


def gz(data: bytes) -> bytes:
    """Gzipped, the same every time."""
    return gzip.compress(data, 1, mtime=0)


def save(path: Path, data: bytes) -> Path:
    """Write a file and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def pair(data: np.ndarray | None = None, kind: Any = nib.AnalyzeImage) -> tuple[bytes, bytes]:
    """The .hdr and the .img of an ANALYZE (or NIfTI) pair, whose first axis goes to the left."""
    image = kind(voxels() if data is None else data, np.diag([-2.0, 2, 2, 1]))
    files = {name: io.BytesIO() for name in ("header", "image")}
    image.to_file_map({name: nib.FileHolder(fileobj=stream) for name, stream in files.items()})
    return files["header"].getvalue(), files["image"].getvalue()


def scan_file(path: Path, seed: int) -> Path:
    """A scan drawn from `seed`: gzipped, or an ANALYZE pair, when its name says so."""
    if path.suffix == ".img":
        header, data = pair(voxels(seed))
        save(path.with_suffix(".hdr"), header)
        return save(path, data)
    data = nifti(voxels(seed))
    return save(path, gz(data) if path.suffix == ".gz" else data)


def bids_site(folder: Path, subjects: int = 8, *, first: int = 0) -> Path:
    """A BIDS folder of people aged 20, 21, …, of whom the fourth was scanned twice."""
    lines = ["participant_id\tage\tsex"]
    for n in range(first, first + subjects):
        scan_file(folder / f"sub-{n:02d}/ses-1/anat/sub-{n:02d}_ses-1_T1w.nii.gz", n)
        lines.append(f"sub-{n:02d}\t{20 + n}\t{'FM'[n % 2]}")
    if first <= 3 < first + subjects:
        scan_file(folder / "sub-03/ses-2/anat/sub-03_ses-2_T1w.nii.gz", 99)
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return folder


def read_rows(site: Path) -> list[dict[str, str]]:
    """The rows of a site's table."""
    header, *lines = [line.split("\t") for line in (site / "table.tsv").read_text().splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def read_values(site: Path, row: dict[str, str], shape: tuple[int, ...], dtype: str = "<i2") -> np.ndarray:
    """The values of a scan, read where the table says that they are."""
    tar = (site / row["shard"]).read_bytes()
    return np.frombuffer(tar[int(row["offset"]) :][: int(row["bytes"])], dtype).reshape(shape)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def npy(data: bytes) -> np.ndarray:
    """An array from the bytes of a .npy member."""
    return np.load(io.BytesIO(data), allow_pickle=False)


def run(sources: list[Path], out: Path, options: dict[str, Any] | None = None, **places: Path) -> Summary:
    """`shard` with small volumes, or with features."""
    given = {**SMALL, **(options or {})}
    if given.get("features"):
        del given["preprocessing"]
    return shard(sources, out, PrepareConfig.read(given, "test"), **places)


def manifest_of(site: Path) -> Manifest:
    """The manifest of a site, checked."""
    return Manifest.read(json.loads((site / "manifest.json").read_text()), "test")
