"""From what a source calls its scans to what the shards call them: keys, sessions and splits, by subject."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.pseudonym import Secrets, pseudonym
from distunlearn.prepare.sources.scans import Scan
from distunlearn.shard_format import MISSING, Split

SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
TRAVELLER = "traveller"

Splits = dict[tuple[str, str], Split]
"""Split by site and subject, as the source names them."""


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
    sessions = _numbers({(s.site, s.subject): {t.session for t in group} for s, group in _by_subject(scans)})
    samples: dict[str, list[Sample]] = defaultdict(list)
    for scan, run in _runs(scans):
        secret = secrets.site(scan.site)
        key = pseudonym(secret, "scan", scan.subject, scan.session, str(run))
        labels = dict(scan.labels)
        if travellers:
            labels[TRAVELLER] = pseudonym(secrets.study(), TRAVELLER, scan.traveller) if scan.traveller else MISSING
        session = sessions[scan.site, scan.subject][scan.session]
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


def split_by_person(scans: list[Scan], config: PrepareConfig, given: Mapping[tuple[str | None, str], str]) -> Splits:
    """The split of every (site, subject).

    The first that says so: the split file, the source's split column, `travelling` for travellers, a salted hash. The
    hash is of the person alone (the subject's name without `sub-`, case and leading zeros), so nobody moves when
    others are added, and one person has one split at all sites, sessions and runs.

    Args:
        scans: of all sites.
        config: the shares and the salt.
        given: what a split file says.

    Raises:
        UserError: a subject is given two splits, or two traveller codes.
    """
    splits: Splits = {}
    for first, group in _by_subject(scans):
        subject = first.subject
        wanted = given.get((first.site, subject)) or given.get((None, subject)) or _one(group, "split")
        traveller = _one(group, "traveller")
        if wanted is None:
            wanted = "travelling" if traveller else draw_split(subject, config)
        splits[first.site, subject] = wanted  # type: ignore[assignment] # checked when it was read
    return splits


def draw_split(subject: str, config: PrepareConfig) -> Split:
    """The split that the salted hash draws for a person."""
    plain = re.sub(r"0*([0-9]+)", r"\1", subject.lower().removeprefix("sub-"))
    digest = hashlib.sha256(f"{config.split_salt}\0{plain}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < config.test:
        return "test"
    return "val" if share < config.test + config.val else "train"


def _by_subject(scans: list[Scan]) -> list[tuple[Scan, list[Scan]]]:
    groups: dict[tuple[str, str], list[Scan]] = defaultdict(list)
    for scan in scans:
        groups[scan.site, scan.subject].append(scan)
    return [(group[0], group) for group in groups.values()]


def _one(group: list[Scan], name: str) -> str | None:
    values = {value for scan in group if (value := getattr(scan, name)) is not None}
    if len(values) > 1:
        raise UserError(f"site {group[0].site}, {group[0].place}: this subject has more than one {name}; leave one")
    return values.pop() if values else None


def _numbers(names: dict[tuple[str, str], set[str]]) -> dict[tuple[str, str], dict[str, int]]:
    return {who: {session: n for n, session in enumerate(sorted(sessions))} for who, sessions in names.items()}


def _runs(scans: list[Scan]) -> list[tuple[Scan, int]]:
    """Every scan with its number within its session, in the order of the file names."""
    seen: dict[tuple[str, str, str], int] = defaultdict(int)
    numbered = []
    for scan in sorted(scans, key=lambda s: (s.site, s.subject, s.session, s.path.name if s.path else "", str(s.path))):
        who = scan.site, scan.subject, scan.session
        numbered.append((scan, seen[who]))
        seen[who] += 1
    return numbered
