"""A whole study: cohorts × scanners, made in parallel, the same in every bit for the same parameters."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from joblib import cpu_count
from pydantic import Field, PositiveInt, field_validator

from distunlearn.errors import UserError
from distunlearn.progress import progress
from distunlearn.run_folder import read_json, write_json
from distunlearn.simulate import bids, template
from distunlearn.simulate.cohort import HOSPITAL, PAPER_SCANS, SITES, Visit, roster
from distunlearn.simulate.draws import generator
from distunlearn.simulate.scanner import acquire, at_strength, scanner_of
from distunlearn.simulate.subject import Anatomy, draw_person
from distunlearn.strict import Strict

SIMULATOR = 1
"""Raised whenever the same parameters would give other scans."""
RECORD = "study.json"


class Study(Strict):
    """What is simulated; everything that the scans depend on."""

    seed: int = Field(0, ge=0)
    scans: dict[str, PositiveInt] = Field(min_length=1)
    """Scans a site, without those of travelling people; a site that is not named is not made."""
    travelling: int = Field(40, ge=0)
    """People who are scanned at every site."""
    voxel_mm: float = Field(4.0, ge=1, le=8)
    """Nominal size of a voxel; each site has its own ratio to it."""
    scanner_strength: float = Field(1.0, ge=0, le=1.5)
    """How far the scanners are apart: at 0 they are the same machine."""
    tissue_labels: bool = False
    """Whether to write the true tissue of each voxel too."""

    @field_validator("scans")
    @classmethod
    def _known_sites(cls, scans: dict[str, int]) -> dict[str, int]:
        if unknown := {site for site in scans if site not in SITES and not HOSPITAL.fullmatch(site)}:
            raise ValueError(
                f"unknown site {min(unknown)!r} (known: {', '.join(SITES)}, and hospital-01 to hospital-99)"
            )
        return scans


def paper_proportions(scale: float) -> dict[str, int]:
    """Scans a site, `scale` times as many as the paper had.

    >>> paper_proportions(0.15)
    {'biobank': 1033, 'oasis': 154, 'whitehall': 75}
    """
    return {site: round(scale * scans) for site, scans in PAPER_SCANS.items()}


def simulate(out: Path, study: Study, *, workers: int | None = None) -> bool:
    """Write the study's sites as BIDS folders under `out`; neither order nor number of `workers` changes a byte.

    A study that was interrupted is made again by the same call.

    Returns:
        False when this very study was there already and nothing was done.

    Raises:
        UserError: `out` holds something else, or nilearn is missing.
    """
    record = {"simulator": SIMULATOR, **study.model_dump()}
    if _is_there(out, record):
        return False
    template.folder()  # a missing nilearn is told before anything is written
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RECORD, {"state": "in progress", **record})
    visits = roster(study.scans, study.travelling, seed=study.seed)
    for site in study.scans:
        bids.write_site(out / site, [visit for visit in visits if visit.site == site])
        if study.tissue_labels:
            bids.write_labels_description(out / site)
    with progress("simulate", len(visits), "scans") as advance:
        for _ in _each(partial(_make, out, study), visits, workers=workers or cpu_count()):
            advance()
    write_json(out / RECORD, {"state": "complete", **record})
    return True


def _is_there(out: Path, record: dict[str, Any]) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    found = read_json(out / RECORD) if (out / RECORD).is_file() else None
    if not isinstance(found, dict) or record != {key: value for key, value in found.items() if key != "state"}:
        raise UserError(f"{out}: holds something other than this study; choose an empty folder or remove that one")
    return bool(found.get("state") == "complete")


def _make(out: Path, study: Study, visit: Visit) -> None:
    person = draw_person(generator(study.seed, "person", visit.person), visit.sex)
    anatomy = Anatomy(template.load(template_spacing(study)), person, visit.age)
    scanner = at_strength(scanner_of(visit.site, study.seed), study.scanner_strength)
    random = generator(study.seed, "scan", visit.participant, visit.session or "")
    acquisition = acquire(anatomy, scanner, random, voxel_mm=study.voxel_mm)
    bids.write_scan(out / visit.site, visit, acquisition, labels=study.tissue_labels)


def template_spacing(study: Study) -> int:
    """Millimetres of the template's grid: half a voxel, so that its own interpolation does not blur."""
    return max(1, round(study.voxel_mm / 2))


def _each(make: Callable[[Visit], None], visits: list[Visit], *, workers: int) -> Iterator[None]:
    if workers == 1:
        yield from map(make, visits)
    else:
        # Spawned, not forked: the parent may hold threads. An executor, as a killed worker must not leave it waiting.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield from pool.map(make, visits, chunksize=4)
