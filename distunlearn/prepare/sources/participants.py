"""participants.tsv, participants.json and the sessions.tsv of a BIDS folder: what is known of whom, and when."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.sources.labels import is_sex, read_age_unit
from distunlearn.prepare.sources.scans import Columns, Scan, describe
from distunlearn.prepare.sources.tabular import Row, Table, find_column, is_missing, need_column, read_table

PARTICIPANTS = "participants.tsv"
DESCRIPTION = "participants.json"
SESSIONS = "sessions.tsv"


class Participants:
    """The tables of a BIDS folder, by participant and session; a cell of a session wins over the participant's.

    Raises:
        UserError: a table's structure is unusable, or it has a participant twice.
    """

    def __init__(self, folder: Path, config: PrepareConfig) -> None:
        path = folder / PARTICIPANTS
        self.table = read_table(path) if path.exists() else None
        self.described = _described(folder)
        self.config = config = _with_levels(config, self.table, self.described)
        self.rows = _by_subject(self.table, config) if self.table else {}
        sessions = _session_tables(folder)
        tables = [*([self.table] if self.table else []), *sessions.values()]
        self.columns = Columns.of(tables, config, units_a_year=self._units())
        self.sessions = {(subject, session): cells for subject, table in sessions.items()
                         for session, cells in self._by_session(table)}  # fmt: skip
        if config.site_column and not any(config.site_column in table.columns for table in tables):
            raise UserError(f"{PARTICIPANTS}: no column {config.site_column!r} for the site; look at --site-column")

    def describe(self, scan: Scan) -> Scan:
        """Give a scan its labels and its site.

        Raises:
            Refusal: its participant has no row, or a cell of it cannot be believed.
        """
        row = self.rows.get(scan.subject)
        if self.table and row is None:
            raise Refusal("no-row", f"has no line in {PARTICIPANTS}; add one, with n/a for what is not known")
        cells = {**(row.cells if row else {}), **self.sessions.get((scan.subject, scan.session), {})}
        site = cells.get(self.config.site_column, "") if self.config.site_column else scan.site
        if is_missing(site):
            raise Refusal("no-site", f"has no site in column {self.config.site_column!r}; fill it in")
        return describe(replace(scan, site=site, place=self.place(scan.subject)), cells, self.columns, self.config)

    def place(self, subject: str) -> str:
        """Where the participant stands in the table."""
        return f"{PARTICIPANTS} line {self.rows[subject].line}" if subject in self.rows else ""

    def notes(self, site: str, *, with_scan: set[str]) -> list[str]:
        """What should be known of the tables besides the scans: lines that could not be read, people without a scan."""
        notes = [f"{site}: {PARTICIPANTS} line {line} has too many or too few cells and was not read; correct it"
                 for line in (self.table.ragged if self.table else ())]  # fmt: skip
        absent = len(self.rows.keys() - with_scan)
        if absent and not self.config.participants:
            notes.append(f"{site}: {absent} participants of {PARTICIPANTS} have no {self.config.suffix} image")
        if self.table is None:
            notes.append(f"{site}: no {PARTICIPANTS}, so its scans have no labels")
        return notes

    def _units(self) -> float:
        age = find_column(self.table, "age", self.config.columns) if self.table else None
        unit = self.described.get(age or "", {}).get("Units")
        return read_age_unit(str(unit), DESCRIPTION) if unit else 1.0

    def _by_session(self, table: Table) -> list[tuple[str, dict[str, str]]]:
        """Sessions with what is known in them, under the headings of participants.tsv."""
        column = need_column(table, "session", self.config.columns)
        asked = {**self.columns.labels, "split": self.columns.split, "traveller": self.columns.traveller}
        headings = {ours: find_column(table, name, {}) or ours for name, ours in asked.items() if ours}
        if self.config.site_column:
            headings[self.config.site_column] = self.config.site_column
        return [
            (
                row.cells[column].removeprefix("ses-"),
                {
                    ours: row.cells[theirs]
                    for ours, theirs in headings.items()
                    if not is_missing(row.cells.get(theirs, ""))
                },
            )
            for row in table.rows
        ]


def _described(folder: Path) -> dict[str, dict[str, Any]]:
    """What participants.json says of each column; nothing where there is no such file."""
    try:
        described = json.loads((folder / DESCRIPTION).read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise UserError(f"{DESCRIPTION}: is no JSON; correct it or take it away") from None
    if not isinstance(described, dict):
        return {}
    return {column: about for column, about in described.items() if isinstance(about, dict)}


def _with_levels(config: PrepareConfig, table: Table | None, described: dict[str, dict[str, Any]]) -> PrepareConfig:
    """The configuration with the meanings of the sexes that participants.json gives, unless the user gave some."""
    heading = find_column(table, "sex", config.columns) if table else None
    levels = described.get(heading or "", {}).get("Levels")
    if "sex" in config.values or not isinstance(levels, dict):
        return config
    meanings = {cell: said.strip() for cell, said in levels.items() if isinstance(said, str) and is_sex(said)}
    return config.model_copy(update={"values": {**config.values, "sex": meanings}}) if meanings else config


def _by_subject(table: Table, config: PrepareConfig) -> dict[str, Row]:
    column = need_column(table, "subject", config.columns)
    rows: dict[str, Row] = {}
    for row in table.rows:
        subject = row.cells[column].removeprefix("sub-")
        if subject in rows:
            raise UserError(
                f"{table.name}: lines {rows[subject].line} and {row.line} are the same participant; keep one"
            )
        rows[subject] = row
    return rows


def _session_tables(folder: Path) -> dict[str, Table]:
    """The table of sessions of each participant who has one; its name in messages names nobody."""
    return {
        path.parent.name.removeprefix("sub-"): read_table(path, name=SESSIONS)
        for path in sorted(folder.glob("sub-*/sub-*_sessions.tsv"))
    }
