"""Who is in which split: a person in one, over all sessions, runs and sites, and always in the same."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.sources.scans import Found, Scan, plain_name
from distunlearn.prepare.sources.tabular import find_column, is_missing, need_column, read_table
from distunlearn.shard_format import SPLITS, Split

Splits = dict[tuple[str, str], Split]
"""Split by site and subject, as the source names them."""

GivenSplits = dict[tuple[str | None, str], Split]
"""Split by site and plain name of the participant; site None where a file does not name sites."""


def split_people(found: Found, config: PrepareConfig, split_file: Path | None) -> Splits:
    """The split of every (site, subject) that was found; notes who a split file does not know, and who is only there.

    Raises:
        UserError: the split file is unusable, or a person is given two splits.
    """
    given = read_splits(split_file) if split_file else {}
    splits = split_by_person(found.scans, config, given)
    if split_file:
        found.notes += _differences(given, splits)
    return splits


def split_by_person(scans: list[Scan], config: PrepareConfig, given: Mapping[tuple[str | None, str], Split]) -> Splits:
    """The split of every (site, subject).

    The first that says so: the split file, the source's split column, `travelling` for travellers, a salted hash. The
    hash is of the person alone (`plain_name`), so nobody moves when others are added, and one person has one split at
    all sites, sessions and runs.

    Args:
        scans: of all sites.
        config: the shares and the salt.
        given: what a split file says.

    Raises:
        UserError: a subject is given two splits, or two traveller codes; a traveller is in two splits.
    """
    groups: dict[tuple[str, str], list[Scan]] = defaultdict(list)
    for scan in scans:
        groups[scan.site, scan.subject].append(scan)
    splits: Splits = {}
    travellers: dict[str, Scan] = {}
    for (site, subject), group in groups.items():
        wanted = _given(given, site, subject) or _one(group, "split")
        traveller = _one(group, "traveller")
        if wanted is None:
            wanted = "travelling" if traveller else draw_split(subject, config)
        splits[site, subject] = wanted  # type: ignore[assignment] # checked when it was read
        if traveller:
            first = travellers.setdefault(traveller, group[0])
            _check_traveller(first, group[0], splits)
    return splits


def draw_split(subject: str, config: PrepareConfig) -> Split:
    """The split that the salted hash draws for a person."""
    digest = hashlib.sha256(f"{config.split_salt}\0{plain_name(subject)}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < config.test:
        return "test"
    return "val" if share < config.test + config.val else "train"


def read_splits(path: Path) -> GivenSplits:
    """Read a table with participants and their splits, and their sites where names repeat between sites.

    Raises:
        UserError: it has no such columns, a split is unknown, or a participant has two.
    """
    table = read_table(path)
    subject, split = need_column(table, "subject", {}), need_column(table, "split", {})
    site = find_column(table, "site", {})
    given: GivenSplits = {}
    for row in table.rows:
        cell = row.cells[split]
        if is_missing(cell):
            continue
        if cell not in SPLITS:
            raise UserError(f"{table.name} line {row.line}: {cell!r} is no split; known are {', '.join(SPLITS)}")
        who = (row.cells[site] if site else None, plain_name(row.cells[subject]))
        if given.setdefault(who, cell) != cell:
            raise UserError(f"{table.name} line {row.line}: this participant was in another split before; keep one")
    if table.ragged:
        raise UserError(f"{table.name} line {table.ragged[0]}: has too many or too few cells; correct it")
    return given


def _given(given: Mapping[tuple[str | None, str], Split], site: str, subject: str) -> Split | None:
    return given.get((site, plain_name(subject))) or given.get((None, plain_name(subject)))


def _differences(given: GivenSplits, splits: Splits) -> list[str]:
    """How many people only the split file knows, and how many it does not know: misspelt names show here."""
    here = {(site, plain_name(subject)) for site, subject in splits}
    names = {name for _, name in here}
    absent = sum((who not in here) if who[0] is not None else (who[1] not in names) for who in given)
    drawn = sum(_given(given, site, name) is None for site, name in here)
    return [
        *([f"split file: {absent} of its {len(given)} participants have no scan here"] if absent else []),
        *(
            [f"split file: {drawn} of {len(here)} people are not in it; their splits come from elsewhere"]
            if drawn
            else []
        ),
    ]


def _check_traveller(first: Scan, scan: Scan, splits: Splits) -> None:
    one, other = splits[first.site, first.subject], splits[scan.site, scan.subject]
    if one != other:
        raise UserError(
            f"site {scan.site}, {scan.place}: this traveller is in {other} here and in {one} at site {first.site}, "
            f"{first.place}; a person has one split, so give the same at every site, or none"
        )


def _one(group: list[Scan], name: str) -> str | None:
    values = {value for scan in group if (value := getattr(scan, name)) is not None}
    if len(values) > 1:
        raise UserError(f"site {group[0].site}, {group[0].place}: this subject has more than one {name}; leave one")
    return values.pop() if values else None
