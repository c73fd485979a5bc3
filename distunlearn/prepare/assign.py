"""From what a source calls its scans to what the shards call them: keys, people and sessions."""

import re
from collections import defaultdict
from dataclasses import dataclass

from distunlearn.errors import UserError
from distunlearn.prepare.pseudonym import Secrets, pseudonym
from distunlearn.prepare.sources.scans import Scan
from distunlearn.prepare.splits import Splits
from distunlearn.shard_format import MISSING, Split

SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
TRAVELLER = "traveller"


@dataclass(frozen=True)
class Sample:
    """A scan with the names that it has in the shards."""

    key: str
    subject: str
    session: int
    split: Split
    labels: dict[str, str]
    scan: Scan


def assign(scans: list[Scan], splits: Splits, secrets: Secrets) -> dict[str, list[Sample]]:
    """Give every scan its key, session number and split, a site, in the order of the keys.

    Raises:
        UserError: a site's name is unusable.
    """
    check_sites(scans)
    travellers = any(scan.traveller for scan in scans)
    sessions = _sessions(scans)
    samples: dict[str, list[Sample]] = defaultdict(list)
    for scan, run in _runs(scans):
        secret = secrets.site(scan.site)
        key = pseudonym(secret, "scan", scan.subject, scan.session, str(run))
        labels = dict(scan.labels)
        if travellers:
            labels[TRAVELLER] = pseudonym(secrets.study(), TRAVELLER, scan.traveller) if scan.traveller else MISSING
        session = sessions[scan.site, scan.subject].index(scan.session)
        split = splits[scan.site, scan.subject]
        samples[scan.site].append(Sample(key, pseudonym(secret, "subject", scan.subject), session, split, labels, scan))
    return {site: sorted(samples[site], key=lambda sample: sample.key) for site in sorted(samples)}


def check_sites(scans: list[Scan]) -> None:
    """Refuse a site's name that cannot be the name of a folder everywhere.

    Raises:
        UserError: with the name.
    """
    for site in sorted({scan.site for scan in scans}):
        if not SITE.fullmatch(site) or ".." in site:
            raise UserError(
                f"site {site!r}: a name has letters, digits, - _ and . only; rename it with --value 'site:{site}=NAME'"
            )


def _sessions(scans: list[Scan]) -> dict[tuple[str, str], list[str]]:
    """The sessions of every (site, subject), in the order of their names."""
    names: dict[tuple[str, str], set[str]] = defaultdict(set)
    for scan in scans:
        names[scan.site, scan.subject].add(scan.session)
    return {who: sorted(sessions) for who, sessions in names.items()}


def _runs(scans: list[Scan]) -> list[tuple[Scan, int]]:
    """Every scan with its number within its session, in the order of the file names."""
    seen: dict[tuple[str, str, str], int] = defaultdict(int)
    numbered = []
    for scan in sorted(scans, key=lambda s: (s.site, s.subject, s.session, s.path.name if s.path else "", str(s.path))):
        who = scan.site, scan.subject, scan.session
        numbered.append((scan, seen[who]))
        seen[who] += 1
    return numbered
