"""Scanners: how a site's machine turns any anatomy into a volume.

Nothing in this file knows of people. Not physical: signals of tissues are picked by hand "in the style of" the paper's
machines, not computed from T1, T2 and a pulse sequence; the bias field and the coil's profile are low polynomials; gamma
stands for everything that is non-linear between signal and stored value; blur is larger than a real point spread, as
voxels here are of several millimetres; the brain is cut out without error, by the truth.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int16, UInt8
from scipy import ndimage

from distunlearn.simulate.draws import generator
from distunlearn.simulate.subject import Anatomy
from distunlearn.simulate.template import CENTRE

FIELD_OF_VIEW_MM = (188.0, 220.0, 196.0)
LABELS = {"GM": 1, "WM": 2, "CSF": 3}
"""True tissue labels, numbered as BIDS does; lesions are white matter, 0 is background."""
LABEL_OF_TISSUE = np.array([LABELS["CSF"], LABELS["GM"], LABELS["GM"], LABELS["WM"], LABELS["WM"]], dtype=np.uint8)


@dataclass(frozen=True)
class Scanner:
    """A machine and its sequence; signals are relative to white matter's, axes are right, anterior, superior."""

    csf: float
    cortex: float
    deep: float
    lesion: float
    gamma: float
    gain: float
    """Stored value of white matter."""
    noise: float
    """Standard deviation of each of the two channels of Rician noise, relative to white matter."""
    blur: tuple[float, float, float]
    """Standard deviation of the point spread along each axis, in voxels."""
    voxel: tuple[float, float, float]
    """Size of a voxel along each axis, relative to the study's."""
    coil: float
    """Gain at the rim of the head over that at its middle, less 1."""
    slope: float
    """Change of gain from the middle of the head to its top."""
    bias: float
    """Standard deviation of each random coefficient of a scan's own bias field."""
    pitch: float
    """Nodding of the head as it is usually placed, in degrees."""
    stretch: float
    """Gradient non-linearity: relative displacement 100 mm from the middle; it grows with the cube of the distance."""


# Biobank's lies between the other two in nearly every respect, so that what is learnt on those can hold for it.
SCANNERS: dict[str, Scanner] = {
    "biobank": Scanner(
        csf=0.24, cortex=0.68, deep=0.80, lesion=0.72, gamma=1.00, gain=620, noise=0.030, blur=(0.45, 0.45, 0.45),
        voxel=(1.0, 1.0, 1.0), coil=0.10, slope=0.00, bias=0.03, pitch=4.0, stretch=0.010,
    ),
    "oasis": Scanner(
        csf=0.33, cortex=0.74, deep=0.84, lesion=0.77, gamma=0.92, gain=240, noise=0.045, blur=(0.60, 0.60, 0.60),
        voxel=(1.25, 1.0, 1.0), coil=-0.12, slope=-0.10, bias=0.05, pitch=-6.0, stretch=0.030,
    ),
    "whitehall": Scanner(
        csf=0.17, cortex=0.60, deep=0.75, lesion=0.64, gamma=1.10, gain=1100, noise=0.018, blur=(0.35, 0.35, 0.50),
        voxel=(0.95, 0.95, 1.15), coil=0.22, slope=0.06, bias=0.04, pitch=10.0, stretch=-0.010,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Acquisition:
    """What a scanner made of an anatomy, in axes right, anterior, superior."""

    volume: Int16[np.ndarray, "X Y Z"]
    labels: UInt8[np.ndarray, "X Y Z"]
    """The true tissue of each voxel, as `LABELS`."""
    affine: Float64[np.ndarray, "4 4"]
    """Voxel to scanner millimetres, from the isocentre."""


def scanner_of(site: str, seed: int) -> Scanner:
    """The machine of a site of the study of this seed: one of `SCANNERS`, or one at random between the three.

    Each property lies anywhere between the least and the most of the three, so that a hospital may be as far from
    another as they are.
    """
    if site in SCANNERS:
        return SCANNERS[site]
    random = generator(seed, "scanner", site)
    drawn: dict[str, Any] = {}
    for name in asdict(SCANNERS["biobank"]):
        values = np.array([getattr(one, name) for one in SCANNERS.values()])
        value = random.uniform(values.min(axis=0), values.max(axis=0))
        drawn[name] = tuple(value.tolist()) if values.ndim > 1 else float(value)
    return Scanner(**drawn)


def at_strength(scanner: Scanner, strength: float) -> Scanner:
    """The scanner at `strength` times its distance from the mean of `SCANNERS`: at 0 all sites have the same machine."""
    moved: dict[str, Any] = {}
    for name, value in asdict(scanner).items():
        mean = np.mean([getattr(one, name) for one in SCANNERS.values()], axis=0)
        there = mean + strength * (np.array(value) - mean)
        moved[name] = tuple(there.tolist()) if there.shape else there.item()
    return Scanner(**moved)


def acquire(anatomy: Anatomy, scanner: Scanner, random: np.random.Generator, *, voxel_mm: float) -> Acquisition:
    """Scan a head once: `random` is that of the scan, `voxel_mm` the study's nominal voxel size."""
    scanner = _of_the_day(scanner, random)
    size = voxel_mm * np.array(scanner.voxel)
    shape = tuple(int(n) for n in np.ceil(FIELD_OF_VIEW_MM / size))
    corner = -size * (np.array(shape) - 1) / 2
    axes = [(c + s * np.arange(n)).astype(np.float32) for c, s, n in zip(corner, size, shape, strict=True)]
    fractions = anatomy.tissue(_places(axes, scanner, random)).reshape(-1, *shape)
    signals = (
        np.array([scanner.csf, scanner.cortex, scanner.deep, 1.0, scanner.lesion], dtype=np.float32)
        * anatomy.brightness
    )
    brain = fractions.sum(axis=0) > 0.5
    image = np.einsum("t,txyz->xyz", signals, fractions)
    image = ndimage.gaussian_filter(image, scanner.blur) * _receive_field(axes, scanner, random)
    image = _rician(image, scanner.noise, random) ** np.float32(scanner.gamma)
    volume = np.rint(np.where(brain, image * np.float32(scanner.gain), 0)).astype(np.int16)
    labels = np.where(brain, LABEL_OF_TISSUE[fractions.argmax(axis=0)], np.uint8(0))
    return Acquisition(volume, labels, _affine(size, corner))


def _of_the_day(scanner: Scanner, random: np.random.Generator) -> Scanner:
    """No machine is the same twice: contrast, noise, gain and the head's pitch vary from scan to scan."""
    spread = {"csf": 0.04, "cortex": 0.015, "deep": 0.015, "lesion": 0.02, "gamma": 0.02, "gain": 0.12, "noise": 0.10}
    drifted = {name: getattr(scanner, name) * np.exp(sd * random.standard_normal()) for name, sd in spread.items()}
    return replace(scanner, **drifted, pitch=scanner.pitch + 2.5 * random.standard_normal())


def _places(axes: list[np.ndarray], scanner: Scanner, random: np.random.Generator) -> Float32[np.ndarray, "3 N"]:
    """Where in the head each voxel really looks, in MNI-like millimetres."""
    bent = [axis * (1 + np.float32(scanner.stretch) * (axis / 100) ** 2) for axis in axes]
    x, y, z = (grid.ravel() for grid in np.meshgrid(*bent, indexing="ij"))
    pitch, (roll, yaw) = np.radians(scanner.pitch), np.radians(1.5 * random.standard_normal(2))
    y, z = _turned(y, z, pitch)
    x, z = _turned(x, z, roll)
    x, y = _turned(x, y, yaw)
    shift = (CENTRE + 2.0 * random.standard_normal(3)).astype(np.float32)
    return np.stack([x, y, z]) + shift[:, None]


def _turned(a: np.ndarray, b: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * a - sin * b, sin * a + cos * b


def _receive_field(
    axes: list[np.ndarray], scanner: Scanner, random: np.random.Generator
) -> Float32[np.ndarray, "X Y Z"]:
    """The coil's profile times a bias field of the scan's own, second order in position."""
    x, y, z = np.ix_(*(axis / 90 for axis in axes))
    tilt = scanner.bias * random.standard_normal(3)
    bend = scanner.bias * random.standard_normal(3) + scanner.coil
    along_x = np.float32(tilt[0]) * x + np.float32(bend[0]) * x**2
    along_y = np.float32(tilt[1]) * y + np.float32(bend[1]) * y**2
    along_z = np.float32(tilt[2] + scanner.slope) * z + np.float32(bend[2]) * z**2
    return np.asarray(np.exp(along_x) * np.exp(along_y) * np.exp(along_z))


def _rician(image: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    real, imaginary = np.float32(noise) * random.standard_normal((2, *image.shape), dtype=np.float32)
    return np.asarray(np.hypot(image + real, imaginary))


def _affine(size: np.ndarray, corner: np.ndarray) -> np.ndarray:
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = corner
    return affine
