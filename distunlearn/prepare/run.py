"""`distunlearn shard`: from sources to the shards, the table and the manifest of every site."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from filelock import FileLock, Timeout

from distunlearn.errors import UserError
from distunlearn.prepare.assign import TRAVELLER, Sample, assign
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.mapping import write_mapping
from distunlearn.prepare.namesake import check_origin
from distunlearn.prepare.preview import check_headers
from distunlearn.prepare.pseudonym import Secrets
from distunlearn.prepare.refusal import Dropped
from distunlearn.prepare.sources import find
from distunlearn.prepare.sources.scans import Found, Scan
from distunlearn.prepare.splits import split_people
from distunlearn.prepare.writing.doubles import Doubles
from distunlearn.prepare.writing.site import SiteJob, finish_site, write_site
from distunlearn.prepare.writing.work import Prepared, pool
from distunlearn.progress import progress
from distunlearn.shard_format import PLACE_COLUMNS, Counts

SUBJECT = PLACE_COLUMNS.index("subject")
OVERHEAD = 2560
"""Bytes of a scan in a tar besides its values."""


@dataclass
class Summary:
    """What was found and what became of it."""

    sites: dict[str, Counts] = field(default_factory=dict)
    subjects: dict[str, int] = field(default_factory=dict)
    """People a site, of whom a scan was written."""
    dropped: list[Dropped] = field(default_factory=list)
    left_out: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def found(self) -> dict[str, int]:
        """Scans found, by site."""
        return {site: counts.found for site, counts in self.sites.items()}


class TooManyRefusedError(UserError):
    """More scans were refused than the user allows; `summary` says which."""

    def __init__(self, summary: Summary, config: PrepareConfig) -> None:
        rules = ", ".join(f"{rule} {n}" for rule, n in sorted(Counter(drop.rule for drop in summary.dropped).items()))
        super().__init__(
            f"{len(summary.dropped)} scans are refused ({rules}) and {config.max_refused} are allowed; "
            f"correct them, or allow them with --max-refused {len(summary.dropped)} (what is done is kept)"
        )
        self.summary = summary


def shard(
    sources: Sequence[Path],
    out: Path,
    config: PrepareConfig,
    *,
    secrets: Path | None = None,
    split_file: Path | None = None,
    mapping: Path | None = None,
) -> Summary:
    """Prepare every scan of the sources and write one folder of shards a site.

    May be killed at any moment and run again: what is done is kept, and the result is the same, byte for byte.

    Args:
        sources: BIDS folders, folders of BIDS folders, or tables.
        out: where the sites' folders go.
        config: what to do.
        secrets: folder of the sites' secrets and of the records of what is done; never to be passed on.
            By default beside `out`, with `.secrets` behind its name.
        split_file: table of participants and their splits.
        mapping: file to write, mode 600, that says who is behind each key.

    Raises:
        UserError: a source is unusable.
        TooManyRefusedError: more than `config.max_refused` scans break a rule; no manifest is written then.
    """
    found = find(sources, config)
    summary = Summary(dropped=found.dropped, left_out=found.left_out, notes=found.notes)
    if len(found.dropped) > config.max_refused:
        check_headers(found, config)  # all that can be told at once is told at once
        raise TooManyRefusedError(summary, config)
    if not found.scans:
        raise UserError("no scan to prepare; look at what --dry-run says")
    private = secrets or out.with_name(f"{out.name}.secrets")
    splits = split_people(found, config, split_file)
    kept = Secrets(private)
    sites = assign(found.scans, splits, kept)
    if mapping:
        write_mapping(mapping, sites)
    jobs = [_job(site, samples, (out, private), config, found) for site, samples in sites.items()]
    with ExitStack() as held:
        _hold(held, private, sites)
        for job in jobs:
            check_origin(job.folder, job.private, found.origins[job.site], kept.site(job.site))
        _write_all(jobs, Doubles(private / "duplicates.json", jobs), config, summary)
    return summary


def _hold(held: ExitStack, private: Path, sites: Iterable[str]) -> None:
    """Hold these sites, so that no second process writes them; tasks of an array may write others meanwhile."""
    for site in sorted(sites):
        try:
            held.enter_context(FileLock(private / f"{site}.lock", timeout=0))
        except Timeout:
            raise UserError(f"site {site!r}: another process is writing its shards; wait for it") from None


def _write_all(jobs: list[SiteJob], doubles: Doubles, config: PrepareConfig, summary: Summary) -> None:
    before = Counter((drop.site, drop.rule) for drop in summary.dropped)
    alone = all(job.kind == "features" for job in jobs)
    with pool(config, alone=alone) as prepare, progress("shard", len(doubles.samples), "scans") as advance:

        def counted(scans: Iterable[Scan]) -> Iterator[Prepared]:
            for prepared in prepare(scans):
                advance()
                yield prepared

        for job in jobs:
            write_site(job, counted, advance, refused=doubles.refused)
        while doubles.update():
            for job in jobs:
                write_site(job, prepare, lambda n=1, **_: None, refused=doubles.refused)
    summary.dropped += [drop for job in jobs for record in job.records for drop in record.dropped]
    if len(summary.dropped) > config.max_refused:
        raise TooManyRefusedError(summary, config)
    for job in jobs:
        early = {rule: n for (site, rule), n in before.items() if site == job.site}
        summary.sites[job.site] = finish_site(job, early)
        summary.subjects[job.site] = len({row[SUBJECT] for record in job.records for row in record.rows})


def _job(site: str, samples: list[Sample], folders: tuple[Path, Path], config: PrepareConfig, found: Found) -> SiteJob:
    out, private = folders
    shape: tuple[int, ...] = config.preprocessing.shape
    done, value_bytes = config.preprocessing.model_dump(mode="json"), 2
    if found.features:
        shape, done, value_bytes = (len(found.features),), {"version": 1, "features": list(found.features)}, 4
    size = value_bytes * prod(shape) + OVERHEAD
    labels = (*config.labels, *((TRAVELLER,) if TRAVELLER in samples[0].labels else ()))
    return SiteJob(
        site=site, samples=samples, folder=out / site, private=private / "records" / site,
        kind="features" if found.features else "volume", shape=shape, preprocessing=done, labels=labels,
        per_shard=max(1, int(config.shard_megabytes * 1e6 // size)), orientation_from=config.orientation_from,
    )  # fmt: skip
