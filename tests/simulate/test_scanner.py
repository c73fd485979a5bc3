"""Scanners: the same head looks different in each, and how far apart they are is one number."""

from dataclasses import astuple

import numpy as np
import pytest

from distunlearn.simulate import template
from distunlearn.simulate.draws import generator
from distunlearn.simulate.scanner import LABELS, SCANNERS, Acquisition, Scanner, acquire, at_strength
from distunlearn.simulate.subject import Anatomy, draw_person


@pytest.fixture(scope="module")
def head() -> Anatomy:
    """A head to put into scanners."""
    return Anatomy(template.load(4), draw_person(generator(0, "person", "a"), "F"), 70)


def scan(head: Anatomy, scanner: Scanner, number: int = 0) -> Acquisition:
    """Scan at 8 mm; another number is another day."""
    return acquire(head, scanner, generator(0, "scan", str(number)), voxel_mm=8)


def mean(acquisition: Acquisition, label: str) -> float:
    """Mean stored value of a tissue."""
    return float(acquisition.volume[acquisition.labels == LABELS[label]].mean())


def test_contrast_tells_the_scanner(head: Anatomy) -> None:
    """Grey relative to white matter differs between any two scanners by more than from day to day."""
    means, days = [], []
    for scanner in SCANNERS.values():
        acquisitions = [scan(head, scanner, day) for day in range(6)]
        ratios = [mean(acquisition, "GM") / mean(acquisition, "WM") for acquisition in acquisitions]
        means.append(np.mean(ratios))
        days.append(np.std(ratios))
    assert np.diff(sorted(means)).min() > 3 * max(days)


def test_tissues_keep_their_order_in_t1_weighting(head: Anatomy) -> None:
    """Fluid is darker than grey matter, grey matter darker than white, on every scanner."""
    for scanner in SCANNERS.values():
        acquisition = scan(head, scanner)
        assert mean(acquisition, "CSF") < mean(acquisition, "GM") < mean(acquisition, "WM")


def test_every_scan_has_its_own_day(head: Anatomy) -> None:
    """The same head in the same scanner twice is not the same volume; the same draw is."""
    scanner = SCANNERS["biobank"]
    first, again, later = scan(head, scanner), scan(head, scanner), scan(head, scanner, 1)
    assert np.array_equal(first.volume, again.volume)
    assert not np.array_equal(first.volume, later.volume)


def test_voxels_have_the_scanners_size(head: Anatomy) -> None:
    """The affine holds the study's voxel size times the scanner's ratio."""
    for scanner in SCANNERS.values():
        sizes = np.diag(scan(head, scanner).affine)[:3]
        assert sizes == pytest.approx(8 * np.array(scanner.voxel))


def test_at_strength_zero_all_scanners_are_one() -> None:
    """Strength 0 leaves no difference between sites, strength 1 leaves the scanners as they are."""
    none = [at_strength(scanner, 0) for scanner in SCANNERS.values()]
    assert none[0] == none[1] == none[2]
    for scanner in SCANNERS.values():
        assert np.hstack(astuple(at_strength(scanner, 1))) == pytest.approx(np.hstack(astuple(scanner)))


def test_at_the_greatest_strength_scanners_still_work() -> None:
    """Noise, blur, gain, gamma, voxels and signals stay positive, and contrasts in their order."""
    for scanner in (at_strength(one, 1.5) for one in SCANNERS.values()):
        assert min(scanner.noise, scanner.gain, scanner.gamma, *scanner.blur, *scanner.voxel) > 0
        assert 0 < scanner.csf < scanner.cortex < scanner.deep < 1
