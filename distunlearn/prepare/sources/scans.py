"""One checked record a scan, whatever kind of source it came from."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import LEFT_OUT, Dropped, Refusal
from distunlearn.prepare.sources.labels import check_sex_code, read_label
from distunlearn.prepare.sources.tabular import Row, Table, find_column, is_missing
from distunlearn.shard_format import SPLITS


@dataclass(frozen=True)
class Scan:
    """A scan with the names that its source gives it; nothing of this but the labels is ever written."""

    site: str
    subject: str
    session: str
    """Empty when there is one session only."""
    path: Path | None
    place: str
    """Where it stands in the source, in words that may be shown: "participants.tsv line 7"."""
    labels: dict[str, str]
    split: str | None = None
    """The split that the source gives, if it gives one."""
    traveller: str | None = None
    """Code that a person has at every site at which they were scanned."""
    features: tuple[float, ...] | None = None
    segmentation: Path | None = None


@dataclass
class Found:
    """What a source holds."""

    scans: list[Scan] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    left_out: int = 0
    """Scans that the user's own options left out."""
    notes: list[str] = field(default_factory=list)
    features: tuple[str, ...] = ()
    """Names of the features, when the scans are rows of a table."""
    origins: dict[str, set[Path]] = field(default_factory=dict)
    """The folders and tables that the scans of each site come from."""
    people: set[str] = field(default_factory=set)
    """Everybody who was found, taken or not."""

    def add(self, other: "Found") -> None:
        """Append what another source holds.

        Raises:
            UserError: one source has features and the other images, or other features.
        """
        if self.scans and other.scans and self.features != other.features:
            raise UserError("the sources do not have the same features; shard images and tables of features apart")
        self.features = self.features or other.features
        self.scans += other.scans
        self.dropped += other.dropped
        self.left_out += other.left_out
        self.notes += other.notes
        self.people |= other.people
        for site, origins in other.origins.items():
            self.origins.setdefault(site, set()).update(origins)

    def come_from(self, origin: Path) -> "Found":
        """Remember where all of this comes from."""
        self.origins = {scan.site: {origin} for scan in self.scans}
        return self

    def refuse(self, site: str, refusal: Refusal, place: str, source: str) -> None:
        """Count a scan that is not taken: left out by the user's options, or refused."""
        if refusal.rule == LEFT_OUT:
            self.left_out += 1
        else:
            self.dropped.append(Dropped(site, refusal.rule, refusal.reason, place, source))


@dataclass(frozen=True)
class Columns:
    """Where a table keeps what is asked for: name to heading."""

    labels: dict[str, str]
    split: str | None
    traveller: str | None
    units_a_year: float

    @classmethod
    def of(cls, tables: Iterable[Table], config: PrepareConfig, *, units_a_year: float = 1.0) -> "Columns":
        """Find the columns in tables of which the later ones win.

        Raises:
            UserError: a column that the user named is in none of them.
        """
        tables = list(tables)
        found = {
            name: heading
            for name in (*config.labels, "split", "traveller")
            if (heading := _heading(name, tables, config))
        }
        for table in tables:
            if found.get("sex") in table.columns:
                check_sex_code((row.cells[found["sex"]] for row in table.rows), table.name, config)
        labels = {name: found[name] for name in config.labels if name in found}
        return cls(labels, found.get("split"), found.get("traveller"), units_a_year)


def _heading(name: str, tables: list[Table], config: PrepareConfig) -> str | None:
    """The heading of a column in the first table that has it."""
    named = config.columns.get(name)
    if named is not None:
        if not any(named in table.columns for table in tables):
            raise UserError(f"no column {named!r} for {name}; look at the headings, and at --column")
        return named
    return next((heading for table in tables if (heading := find_column(table, name, {}))), None)


def describe(scan: Scan, cells: dict[str, str], columns: Columns, config: PrepareConfig) -> Scan:
    """Give a scan what its row says of it.

    Raises:
        Refusal: a cell cannot be believed.
    """
    labels = {name: read_label(name, cells.get(columns.labels.get(name, ""), ""), config, units_a_year=columns.units_a_year)
              for name in config.labels}  # fmt: skip
    split = cells.get(columns.split or "", "")
    traveller = cells.get(columns.traveller or "", "")
    if not is_missing(split) and split not in SPLITS:
        raise Refusal("split", f"has a split that is none of {', '.join(SPLITS)}; correct it, or write n/a")
    site = config.values.get("site", {}).get(scan.site, scan.site)
    return replace(
        scan,
        site=site,
        labels=labels,
        split=None if is_missing(split) else split,
        traveller=None if is_missing(traveller) else traveller,
    )


def plain_name(name: str) -> str:
    """A person's name without `sub-`, capitals and the leading zeros of numbers, which spreadsheets eat."""
    return re.sub(r"0*([0-9]+)", r"\1", name.strip().lower().removeprefix("sub-"))


def is_wanted(subject: str, config: PrepareConfig) -> bool:
    """Whether the user asked for this participant, or for all."""
    wanted = {name.removeprefix("sub-") for name in config.participants}
    return not wanted or subject.removeprefix("sub-") in wanted


def place_of(table: Table, row: Row) -> str:
    """Where a row stands, in words that name nobody."""
    return f"{table.name} line {row.line}"
