"""BIDS folders: one site, several site folders, or one folder whose participants name their site."""

import json
import re
from collections import defaultdict
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.labels import read_age_unit
from distunlearn.prepare.refusal import Dropped, Refusal
from distunlearn.prepare.scans import Columns, Found, Scan, with_row
from distunlearn.prepare.tabular import Row, Table, is_missing, need_column, read_table

PARTICIPANTS = "participants.tsv"


def is_bids(folder: Path) -> bool:
    """Whether a folder holds participants."""
    return folder.is_dir() and any(child.is_dir() for child in folder.glob("sub-*"))


def bids_sites(source: Path) -> list[Path]:
    """The BIDS folders that a source is made of: itself, or one a site in it.

    Raises:
        UserError: there is none.
    """
    if is_bids(source):
        return [source]
    sites = sorted(child for child in source.iterdir() if is_bids(child))
    if not sites:
        raise UserError(
            f"{source}: no sub-* folders in it or one level below, so it is no BIDS folder; give one, or a table with a path column"
        )
    return sites


def find_bids(folder: Path, config: PrepareConfig, *, site: str) -> Found:
    """Find the scans of one BIDS folder and what participants.tsv and the sessions.tsv say of them.

    A cell of sessions.tsv wins over the participant's. A scan without a row is refused when there is a table, and
    unlabelled when there is none.

    Raises:
        UserError: a table's structure is unusable.
    """
    found = Found()
    people = _People(folder, config)
    files = _images(folder, config, found)
    for (subject, session), paths in sorted(files.items()):
        for path in paths:
            scan = Scan(site, subject, session, path, "", {})
            source = str(path.relative_to(folder))
            try:
                found.scans.append(people.describe(scan))
            except Refusal as refusal:
                found.refuse(site, refusal, people.place(subject), source)
    found.dropped += [Dropped(site, "ragged-row", "has too many or too few cells; correct the line", f"{PARTICIPANTS} line {n}", "")
                      for n in people.ragged]  # fmt: skip
    with_scan = {subject for subject, _ in files}
    absent = len(people.rows.keys() - with_scan) if not config.participants else 0
    if absent:
        found.notes.append(f"{site}: {absent} participants of {PARTICIPANTS} have no {config.suffix} image")
    return found


def _images(folder: Path, config: PrepareConfig, found: Found) -> dict[tuple[str, str], list[Path]]:
    """Images a subject and session, in the order of their names."""
    pattern = re.compile(rf"sub-([^_/]+)(?:_ses-([^_/]+))?_(?:.*_)?{re.escape(config.suffix)}\.nii(?:\.gz)?")
    wanted = {name.removeprefix("sub-") for name in config.participants}
    files: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted([*folder.glob("sub-*/anat/*"), *folder.glob("sub-*/ses-*/anat/*")]):
        match = pattern.fullmatch(path.name)
        if not match:
            continue
        subject, session = path.relative_to(folder).parts[0].removeprefix("sub-"), match[2] or ""
        if match[1] != subject:
            found.dropped.append(
                Dropped("", "misplaced", "lies in another participant's folder; move or rename it", "", path.name)
            )
        elif wanted and subject not in wanted:
            found.left_out += 1
        else:
            files[subject, session].append(path)
    if config.runs == "first":
        found.left_out += sum(len(paths) - 1 for paths in files.values())
        files = defaultdict(list, {key: paths[:1] for key, paths in files.items()})
    return files


class _People:
    """The tables of a BIDS folder, by participant and session."""

    def __init__(self, folder: Path, config: PrepareConfig) -> None:
        self.folder, self.config = folder, config
        path = folder / PARTICIPANTS
        self.table = read_table(path) if path.exists() else None
        self.rows: dict[str, Row] = {}
        self.ragged = self.table.ragged if self.table else ()
        if self.table:
            self._index(self.table)
        tables = [self.table] if self.table else []
        self.sessions, session_tables = self._read_sessions()
        self.columns = Columns.of([*tables, *session_tables], config, units_a_year=self._units())
        self.site_column = None
        if config.site_column:
            if self.table is None or config.site_column not in self.table.columns:
                raise UserError(
                    f"{PARTICIPANTS}: no column {config.site_column!r} for the site; look at its headings, and at --site-column"
                )
            self.site_column = config.site_column

    def _index(self, table: Table) -> None:
        column = need_column(table, "subject", self.config.columns)
        for row in table.rows:
            subject = row.cells[column].removeprefix("sub-")
            if subject in self.rows:
                raise UserError(
                    f"{table.name}: lines {self.rows[subject].line} and {row.line} are the same participant; keep one"
                )
            self.rows[subject] = row

    def _units(self) -> float:
        path = self.folder / "participants.json"
        try:
            described = json.loads(path.read_text("utf-8-sig"))
        except FileNotFoundError:
            return 1.0
        except (OSError, ValueError):
            raise UserError(f"{path.name}: is no JSON; correct it or take it away") from None
        age = described.get(self.config.columns.get("age", "age"), {}) if isinstance(described, dict) else {}
        unit = age.get("Units") if isinstance(age, dict) else None
        return read_age_unit(str(unit), path.name) if unit else 1.0

    def _read_sessions(self) -> tuple[dict[tuple[str, str], Row], list[Table]]:
        rows: dict[tuple[str, str], Row] = {}
        tables = []
        for path in sorted(self.folder.glob("sub-*/sub-*_sessions.tsv")):
            table = read_table(path)
            column = need_column(table, "session", self.config.columns)
            for row in table.rows:
                rows[path.parent.name.removeprefix("sub-"), row.cells[column].removeprefix("ses-")] = row
            tables.append(table)
        return rows, tables

    def place(self, subject: str) -> str:
        """Where the participant stands in the table."""
        return f"{PARTICIPANTS} line {self.rows[subject].line}" if subject in self.rows else ""

    def describe(self, scan: Scan) -> Scan:
        """Give a scan its labels and its site."""
        row = self.rows.get(scan.subject)
        if self.table and row is None:
            raise Refusal("no-row", f"has no line in {PARTICIPANTS}; add one, with n/a for what is not known")
        cells = dict(row.cells) if row else {}
        session = self.sessions.get((scan.subject, scan.session))
        if session:
            cells |= {name: cell for name, cell in session.cells.items() if not is_missing(cell)}
        site = cells.get(self.site_column, "") if self.site_column else scan.site
        if is_missing(site):
            raise Refusal("no-site", f"has no site in column {self.site_column!r}; fill it in")
        site = self.config.values.get("site", {}).get(site, site)
        place = self.place(scan.subject)
        return with_row(Scan(site, scan.subject, scan.session, scan.path, place, {}), cells, self.columns, self.config)
