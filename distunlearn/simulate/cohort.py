"""Cohorts: who is scanned where, when and at what age: the paper's three sites (its Fig. 2), and hospitals at random."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from distunlearn.simulate.draws import generator
from distunlearn.simulate.subject import Sex

PAPER_SCANS = {"biobank": 5508 + 1377, "oasis": 813 + 217, "whitehall": 452 + 51}
"""Training and test scans of the paper, section 3."""


@dataclass(frozen=True)
class Site:
    """Whom a site invites. The machine that it scans them with is `scanner.scanner_of` the site."""

    prefix: str
    age: Callable[[np.random.Generator], float]
    """Draws the years of a person at the first visit; beta distributions after the paper's Fig. 2."""
    female: float
    """Share of women; Whitehall II followed civil servants, mostly men."""
    longitudinal: bool = False
    """Whether people come back; then every scan lies in a session."""


def _oasis_age(random: np.random.Generator) -> float:
    young = random.random() < 0.38
    return 18 + 30 * random.beta(1.1, 2.6) if young else 45 + 50 * random.beta(3.0, 2.1)


SITES: dict[str, Site] = {
    "biobank": Site("BIO", lambda random: 45 + 35 * random.beta(2.3, 1.9), female=0.53),
    "oasis": Site("OAS", _oasis_age, female=0.60, longitudinal=True),
    "whitehall": Site("WHI", lambda random: 60 + 25 * random.beta(2.0, 2.6), female=0.20),
}
HOSPITAL = re.compile(r"hospital-\d\d")
"""Names of sites that are drawn at random: hospital-01 and so on."""


def site_of(name: str, seed: int) -> Site:
    """Whom a site of the study of this seed invites: one of `SITES`, or a hospital with adults of an age of its own."""
    if name in SITES:
        return SITES[name]
    random = generator(seed, "site", name)
    youngest, female = random.uniform(35, 55), random.uniform(0.35, 0.65)
    return Site(f"H{name[-2:]}", lambda draw: youngest + 40 * draw.beta(1.5, 1.5), female=female)


@dataclass(frozen=True)
class Visit:
    """One scan of the study: who lies where, and how old they are that day."""

    site: str
    participant: str
    """BIDS label of the person at this site, with `sub-`."""
    session: str | None
    """BIDS label of the session, with `ses-`, or None at sites where people come once."""
    person: str
    """Key of the person, the same on every scanner: all traits are drawn from it."""
    traveller: str | None
    """Code of the person if scanned at every site."""
    sex: Sex
    age: float
    """Years, with one decimal."""


def roster(scans: dict[str, int], travelling: int, *, seed: int) -> list[Visit]:
    """All visits of a study: `scans` a site, and `travelling` people more who are scanned at every site."""
    return [
        visit
        for site, count in scans.items()
        for visit in (*_own(site, count, seed), *_travellers(site, travelling, seed))
    ]


def _own(site: str, count: int, seed: int) -> list[Visit]:
    visits: list[Visit] = []
    number = 0
    while len(visits) < count:
        number += 1
        visits.extend(_visits(site, number, seed))
    return visits[:count]


def _visits(site: str, number: int, seed: int) -> Iterator[Visit]:
    kind = site_of(site, seed)
    participant = f"sub-{kind.prefix}{number:05d}"
    random = generator(seed, "visits", participant)
    sex: Sex = "F" if random.random() < kind.female else "M"
    age = kind.age(random)
    # Only the old are followed up, as in OASIS: the young were scanned once.
    times = random.choice([1, 2, 3], p=[0.35, 0.40, 0.25]) if kind.longitudinal and age >= 60 else 1
    for time in range(1, times + 1):
        session = f"ses-{time:02d}" if kind.longitudinal else None
        yield Visit(site, participant, session, person=participant, traveller=None, sex=sex, age=round(age, 1))
        age += random.uniform(1, 3)


def _travellers(site: str, travelling: int, seed: int) -> Iterator[Visit]:
    """Travelling people are 60 to 80 years old, where the ages of the sites overlap."""
    kind = site_of(site, seed)
    for number in range(1, travelling + 1):
        code = f"T{number:03d}"
        random = generator(seed, "visits", code)
        sex: Sex = "F" if random.random() < 0.5 else "M"
        age = round(random.uniform(60, 80), 1)
        participant, session = f"sub-{kind.prefix}9{number:04d}", "ses-01" if kind.longitudinal else None
        yield Visit(site, participant, session, person=code, traveller=code, sex=sex, age=age)
