"""People: what a brain is made of at an age, whichever scanner looks at it.

Nothing in this file knows of scanners. Not physical: all brains are one average brain, smoothly deformed, so gyri are
everybody's; the course of ageing is a planted formula (each coefficient is below), not a fit to data; white matter
lesions are a smooth rim, not patches; there is no disease and no skull.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from distunlearn.simulate.template import CENTRE, Template

Sex = Literal["F", "M"]
TISSUES = ("csf", "cortex", "deep", "white", "lesion")
"""The order of what `Anatomy.tissue` returns."""
CONTROL_POINTS = (5, 6, 5)
"""A person's own shape: random displacements on this coarse grid over the head, smoothly interpolated."""
ALONG = ("xi,dijk->dxjk", "yj,dxjk->dxyk", "zk,dxyk->dxyz")
WARP_MM = 2.0


@dataclass(frozen=True)
class Person:
    """What stays the same in a person over the years and on every scanner."""

    sex: Sex
    head_scale: float
    brain_age_gap: float
    """Years by which the brain is older than its owner: the error that no method can avoid."""
    ventricle_mm: float
    sulci: float
    lesions: float
    shape: Float32[np.ndarray, "3 5 6 5"]


def draw_person(random: np.random.Generator, sex: Sex) -> Person:
    """A person of this sex, with traits drawn from `random`."""
    return Person(
        sex=sex,
        head_scale=(1.025 if sex == "M" else 0.975) * (1 + 0.022 * random.standard_normal()),
        brain_age_gap=2.5 * random.standard_normal(),
        ventricle_mm=0.4 * random.standard_normal(),
        sulci=0.05 * random.standard_normal(),
        lesions=random.lognormal(0, 0.5),
        shape=(WARP_MM * random.standard_normal((3, *CONTROL_POINTS))).astype(np.float32),
    )


@dataclass(frozen=True)
class Anatomy:
    """A person's head at an age, as a function of position: ask it what tissue there is at a point."""

    template: Template
    person: Person
    age: float

    @property
    def brain_age(self) -> float:
        """The age in years that the brain looks."""
        return self.age + self.person.brain_age_gap

    @property
    def ageing(self) -> float:
        """0 at a brain age of 20 years, 1 at 80."""
        return max(self.brain_age - 20, 0) / 60

    @property
    def brightness(self) -> Float32[np.ndarray, "5"]:
        """Signal of each of `TISSUES` relative to a young adult's: the contrast between grey and white fades."""
        t = self.ageing
        return np.array([1, 1 - 0.04 * t, 1 - 0.06 * t, 1 - 0.05 * t**2, 1], dtype=np.float32)

    def tissue(self, points: Float32[np.ndarray, "3 N"]) -> Float32[np.ndarray, "5 N"]:
        """Fractions of `TISSUES` at positions in MNI-like millimetres; outside the head all are 0."""
        centre = np.array(CENTRE, dtype=np.float32)[:, None]
        scale = np.float32(self.person.head_scale * (1 - 0.02 * self.ageing**1.5))
        index = self.template.index((points - centre) / scale + centre)
        near = _sample(self.template.near, index, order=0)
        index = index[:, near]
        index = index + np.stack([_sample(axis, index / 2) for axis in self._displacement])
        fractions = np.zeros((len(TISSUES), points.shape[1]), dtype=np.float32)
        fractions[:, near] = self._aged([_sample(one, index) for one in self.template.maps])
        return fractions

    @cached_property
    def _displacement(self) -> Float32[np.ndarray, "3 x y z"]:
        """Where a point's tissue comes from, relative to it, in steps of the template's grid."""
        own = self.person.shape
        for subscripts, n, points in zip(ALONG, self.template.push.shape[1:], CONTROL_POINTS, strict=True):
            # One axis after the other and without BLAS, whose threads would take every core in every worker.
            own = np.einsum(subscripts, _smooth_basis(n, points), own, optimize=False)
        widening = np.float32(3.2 * self.ageing**1.5 + self.person.ventricle_mm)
        return np.asarray((own - widening * self.template.push) / np.float32(self.template.spacing))

    def _aged(self, maps: list[np.ndarray]) -> np.ndarray:
        csf, cortex, deep, white, sulcal, rim = maps
        thinned = np.float32(np.clip(0.70 * self.ageing + 0.08 + self.person.sulci, 0, 1)) * sulcal
        burden = np.float32(0.35 * self.person.lesions / (1 + np.exp(-(self.brain_age - 68) / 6)))
        lesion = np.minimum(burden * rim, white)
        return np.stack([csf + thinned, cortex - thinned, deep, white - lesion, lesion])


def _sample(values: np.ndarray, index: np.ndarray, *, order: int = 1) -> np.ndarray:
    return np.asarray(ndimage.map_coordinates(values, index, order=order, output=values.dtype, mode="nearest"))


@lru_cache(maxsize=8)
def _smooth_basis(n: int, points: int) -> Float32[np.ndarray, "n points"]:
    """Cubic interpolation along one axis from `points` control points to `n`, as a matrix."""
    return np.asarray(ndimage.zoom(np.eye(points, dtype=np.float32), (n / points, 1), order=3, mode="nearest"))
