"""Cohorts: as many scans as asked for, ages as in the paper, and people who travel."""

from collections import Counter
from itertools import pairwise

import numpy as np

from distunlearn.simulate.bids import AXES, SIDECARS
from distunlearn.simulate.cohort import PAPER_SCANS, SITES, roster, site_of
from distunlearn.simulate.scanner import SCANNERS, scanner_of


def test_every_site_is_described_everywhere() -> None:
    """Cohort, scanner, storage and the paper's counts speak of the same sites."""
    assert set(SITES) == set(SCANNERS) == set(AXES) == set(SIDECARS) == set(PAPER_SCANS)


def test_counts_are_those_asked_for() -> None:
    """A site has its scans, sessions included, and one scan more a travelling person."""
    visits = roster({"biobank": 17, "oasis": 23}, 4, seed=3)
    assert Counter(visit.site for visit in visits) == {"biobank": 21, "oasis": 27}


def test_ages_follow_the_papers_figure() -> None:
    """Biobank 45 to 80, Whitehall older than 60, OASIS from the young to the very old with few between."""
    visits = roster(dict.fromkeys(SITES, 600), 0, seed=0)
    ages = {site: np.array([visit.age for visit in visits if visit.site == site]) for site in SITES}
    assert 45 <= ages["biobank"].min() < 50
    assert 75 < ages["biobank"].max() <= 80
    assert ages["whitehall"].min() >= 60
    assert np.mean(ages["oasis"] < 30) > 0.1
    assert np.mean(ages["oasis"] > 75) > 0.2
    assert np.mean((ages["oasis"] > 40) & (ages["oasis"] < 55)) < 0.1


def test_returning_people_grow_older() -> None:
    """The sessions of a person follow each other by one to three years; some people return, others do not."""
    visits = [visit for visit in roster({"oasis": 200}, 0, seed=0) if visit.site == "oasis"]
    pairs = [(a, b) for a, b in pairwise(visits) if a.participant == b.participant]
    assert 40 < len(pairs) < 160
    for earlier, later in pairs:
        assert 0.9 <= later.age - earlier.age <= 3.1
        assert (earlier.session, later.session) in {("ses-01", "ses-02"), ("ses-02", "ses-03")}
        assert (earlier.person, earlier.sex) == (later.person, later.sex)


def test_a_larger_site_leaves_everybody_else_as_they_were() -> None:
    """Whoever was in a smaller study is in the larger one, unchanged."""
    small = roster({"biobank": 10, "oasis": 10}, 2, seed=5)
    large = roster({"biobank": 30, "oasis": 10}, 5, seed=5)
    assert set(small) <= set(large)


def test_travelling_people_are_the_same_everywhere() -> None:
    """At every site a traveller has the same code, person, sex and age, and a participant label of the site's own."""
    visits = [visit for visit in roster(dict.fromkeys(SITES, 5), 6, seed=0) if visit.traveller]
    for code in {visit.traveller for visit in visits}:
        same = [visit for visit in visits if visit.traveller == code]
        assert [visit.site for visit in same] == list(SITES)
        assert len({(visit.person, visit.sex, visit.age) for visit in same}) == 1
        assert len({visit.participant for visit in same}) == 3


def test_hospitals_are_sites_of_their_own() -> None:
    """Each hospital of a seed has ages and a machine of its own between the three's; another seed has other ones."""
    names = [f"hospital-{number:02d}" for number in range(1, 9)]
    visits = roster(dict.fromkeys(names, 200), 3, seed=5)
    youngest = [min(visit.age for visit in visits if visit.site == name) for name in names]
    assert len({round(age) for age in youngest}) > 4
    assert 35 <= min(youngest) < max(youngest) < 60
    assert len({visit.participant for visit in visits}) == len(visits)
    machines = [scanner_of(name, 5) for name in names]
    for name in ("csf", "gamma", "noise", "pitch", "stretch"):
        three = [getattr(one, name) for one in SCANNERS.values()]
        drawn = [getattr(one, name) for one in machines]
        assert min(three) <= min(drawn) < max(drawn) <= max(three)
    assert scanner_of("hospital-01", 6) != machines[0] == scanner_of("hospital-01", 5)
    assert site_of("hospital-01", 6).female != site_of("hospital-01", 5).female
