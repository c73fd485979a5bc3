"""People: brains age, traits stay, and no scanner comes into it."""

from itertools import pairwise

import numpy as np
import pytest

from distunlearn.simulate import template
from distunlearn.simulate.draws import generator
from distunlearn.simulate.subject import TISSUES, Anatomy, Person, draw_person
from distunlearn.simulate.template import CENTRE

STEP = 4.0


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """Positions every 4 mm in and around the head."""
    axes = [np.arange(c - 110, c + 110, STEP, dtype=np.float32) for c in CENTRE]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])


def someone(name: str = "a", sex: str = "F") -> Person:
    """A person who is the same in every test."""
    return draw_person(generator(0, "person", name), sex)


def millilitres(person: Person, age: float, points: np.ndarray) -> dict[str, float]:
    """Volume of each tissue, and of the fluid in the middle of the head, which is in the ventricles."""
    fractions = Anatomy(template.load(4), person, age).tissue(points)
    middle = (((points.T - (0, -20, 10)) / (30, 55, 25)) ** 2).sum(axis=1) < 1
    volumes = dict(zip(TISSUES, fractions.sum(axis=1) * STEP**3 / 1000, strict=True))
    return volumes | {"ventricles": fractions[0, middle].sum() * STEP**3 / 1000}


def test_brain_ages(points: np.ndarray) -> None:
    """From decade to decade ventricles, fluid and lesions grow, and cortex is lost."""
    for name in "abc":
        decades = [millilitres(someone(name), age, points) for age in (25, 45, 65, 85)]
        for earlier, later in pairwise(decades):
            assert later["ventricles"] > earlier["ventricles"] + 2
            assert later["csf"] > earlier["csf"]
            assert later["lesion"] >= earlier["lesion"]
            assert later["cortex"] < earlier["cortex"]


def test_fractions_fill_a_voxel_at_most(points: np.ndarray) -> None:
    """However old, a voxel holds no negative tissue and no more than itself."""
    for age in (18, 60, 98):
        fractions = Anatomy(template.load(4), someone(), age).tissue(points)
        assert fractions.min() >= 0
        assert fractions.sum(axis=0).max() < 1.1  # the published maps overlap by a few per cent


def test_nothing_lies_outside_the_head(points: np.ndarray) -> None:
    """At the faces of the box around the head there is no tissue."""
    fractions = Anatomy(template.load(4), someone(sex="M"), 40).tissue(points).sum(axis=0)
    n = round(len(fractions) ** (1 / 3))
    grid = fractions.reshape(n, n, n)
    assert max(grid[0].max(), grid[-1].max(), grid[:, 0].max(), grid[:, -1].max(), grid[..., -1].max()) == 0


def test_people_differ_and_stay_themselves(points: np.ndarray) -> None:
    """The same name gives the same tissue at every point; another name another brain."""
    first, again, other = (Anatomy(template.load(4), someone(name), 60).tissue(points) for name in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.5


def test_men_have_larger_heads() -> None:
    """The mean difference between the sexes is five per cent of a head's length."""
    scale = {sex: np.mean([someone(str(n), sex).head_scale for n in range(400)]) for sex in "FM"}
    assert scale["M"] - scale["F"] == pytest.approx(0.05, abs=0.005)
