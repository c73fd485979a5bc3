"""`distunlearn shard`: from sources to the shards, the table and the manifest of every site."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock, Timeout

from distunlearn.errors import UserError
from distunlearn.prepare.assign import TRAVELLER, Sample, assign
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.pseudonym import Secrets
from distunlearn.prepare.refusal import Dropped
from distunlearn.prepare.scans import Scan
from distunlearn.prepare.site import SiteJob, finish_site, write_site
from distunlearn.prepare.sources import find
from distunlearn.prepare.work import Prepared, pool
from distunlearn.progress import progress
from distunlearn.shard_format import Counts


@dataclass
class Summary:
    """What was found and what became of it."""

    sites: dict[str, Counts] = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)
    left_out: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def written(self) -> int:
        """Scans in shards, over all sites."""
        return sum(counts.written for counts in self.sites.values())


class TooManyRefusedError(UserError):
    """More scans were refused than the user allows; `summary` says which."""

    def __init__(self, summary: Summary, config: PrepareConfig) -> None:
        rules = ", ".join(f"{rule} {n}" for rule, n in sorted(Counter(drop.rule for drop in summary.dropped).items()))
        super().__init__(
            f"{len(summary.dropped)} scans are refused ({rules}) and {config.max_refused} are allowed; "
            f"correct them, or allow them with --max-refused {len(summary.dropped)} (what is done is kept)"
        )
        self.summary = summary


def shard(sources: Sequence[Path], out: Path, config: PrepareConfig, *, secrets: Path | None = None) -> Summary:
    """Prepare every scan of the sources and write one folder of shards a site.

    May be killed at any moment and run again: what is done is kept, and the result is the same, byte for byte.

    Args:
        sources: BIDS folders, folders of BIDS folders, or tables.
        out: where the sites' folders go.
        config: what to do.
        secrets: folder of the sites' secrets and of the records of what is done; never to be passed on.
            By default beside `out`, with `.secrets` behind its name.

    Raises:
        UserError: a source is unusable.
        TooManyRefusedError: more than `config.max_refused` scans break a rule; no manifest is written then.
    """
    found = find(sources, config)
    summary = Summary(dropped=found.dropped, left_out=found.left_out, notes=found.notes)
    if len(found.dropped) > config.max_refused:
        raise TooManyRefusedError(summary, config)
    if not found.scans:
        raise UserError(f"{' '.join(map(str, sources))}: no scan to prepare; look at what --dry-run says")
    private = secrets or out.with_name(f"{out.name}.secrets")
    sites = assign(found.scans, config, Secrets(private))
    try:
        with FileLock(private / "lock", timeout=0):
            _write_all(sites, (out, private), config, summary)
    except Timeout:
        raise UserError(f"{out}: another process is writing there; wait for it") from None
    return summary


def _write_all(
    sites: dict[str, list[Sample]], folders: tuple[Path, Path], config: PrepareConfig, summary: Summary
) -> None:
    jobs = [_job(site, samples, folders, config) for site, samples in sites.items()]
    before = Counter((drop.site, drop.rule) for drop in summary.dropped)
    with pool(config) as prepare, progress("shard", sum(map(len, sites.values())), "scans") as advance:

        def counted(scans: Iterable[Scan]) -> Iterator[Prepared]:
            for prepared in prepare(scans):
                advance()
                yield prepared

        for job in jobs:
            job.records = write_site(job, counted, advance)
            summary.dropped += [drop for record in job.records for drop in record.dropped]
    if len(summary.dropped) > config.max_refused:
        raise TooManyRefusedError(summary, config)
    for job in jobs:
        early = {rule: n for (site, rule), n in before.items() if site == job.site}
        summary.sites[job.site] = finish_site(job, early)


def _job(site: str, samples: list[Sample], folders: tuple[Path, Path], config: PrepareConfig) -> SiteJob:
    out, private = folders
    features = samples[0].scan.features
    shape = config.preprocessing.shape if features is None else (len(features),)
    done = config.preprocessing.model_dump(mode="json")
    labels = (*config.labels, *((TRAVELLER,) if TRAVELLER in samples[0].labels else ()))
    bytes_a_scan = int(np.prod(shape)) * (2 if features is None else 4) + 2560  # headers and labels
    per_shard = max(1, int(config.shard_megabytes * 1e6 // bytes_a_scan))
    kind: Literal["volume", "features"] = "volume" if features is None else "features"
    return SiteJob(
        site,
        samples,
        out / site,
        private / "records" / site,
        kind,
        shape,
        done,
        labels,
        per_shard,
        config.orientation_from,
    )
