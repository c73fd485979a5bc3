"""The template: fractions that add up, ventricles where they are, and a plain word when nilearn is missing."""

import importlib.util

import numpy as np
import pytest

from distunlearn.errors import UserError
from distunlearn.simulate import template


@pytest.fixture(scope="module")
def maps() -> template.Template:
    """The template as a study at 8 mm uses it."""
    return template.load(4)


def test_tissues_are_fractions_of_a_voxel(maps: template.Template) -> None:
    """The four tissues fill a voxel at most, and what thins or is diseased is a part of its tissue."""
    csf, cortex, deep, white, sulcal, rim = maps.maps
    assert maps.maps.min() >= 0
    assert (csf + cortex + deep + white).max() < 1.1  # the published maps overlap by a few per cent
    assert (sulcal <= cortex).all()
    assert (rim <= white).all()


def test_brain_has_the_size_of_a_brain(maps: template.Template) -> None:
    """Volumes are those of an adult: litres of grey and white matter within the textbook's range."""
    litres = dict(zip(template.MAPS, maps.maps.sum(axis=(1, 2, 3)) * maps.spacing**3 / 1e6, strict=True))
    assert 0.8 < litres["cortex"] + litres["deep"] < 1.2
    assert 0.5 < litres["white"] < 0.8


def test_tissue_is_pushed_away_from_the_middle(maps: template.Template) -> None:
    """Widening moves tissue to the left on the left of the ventricles, to the right on the right."""
    middle = round(-maps.origin[0] / maps.spacing / 2)
    x = maps.push[0]
    assert x[:middle].sum() < -10
    assert x[middle + 1 :].sum() > 10
    assert np.abs(maps.push).max() <= 1


@pytest.mark.usefixtures("maps")
def test_missing_nilearn_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nilearn the error names the extra that brings it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install distunlearn\[simulate\]"):
        template.folder()
