"""A CSV or TSV with one line a scan: where the file is (or the features themselves), who it is, what is known of them."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import Dropped, Refusal
from distunlearn.prepare.sources.labels import with_point
from distunlearn.prepare.sources.scans import Columns, Found, Scan, describe, is_wanted, place_of
from distunlearn.prepare.sources.tabular import Row, Table, find_column, is_missing, need_column, read_table

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def find_listed(path: Path, config: PrepareConfig) -> Found:
    """Find the scans of a table with a path column, or with columns of features.

    Relative paths start at the table's folder. Without a site column every line belongs to the site that is named, or
    to one named like the file.

    Raises:
        UserError: the table's structure is unusable.
    """
    table = read_table(path)
    lines = _Lines(path, table, config)
    found = Found(features=lines.features)
    for row in table.rows:
        lines.add(found, row)
    site = "" if "site" in lines.headings else lines.site
    found.dropped += [
        Dropped(site, "ragged-row", "has too many or too few cells; correct the line", f"{table.name} line {n}", "")
        for n in table.ragged
    ]
    return found


class _Lines:
    """How the lines of one table are read."""

    def __init__(self, path: Path, table: Table, config: PrepareConfig) -> None:
        self.folder, self.table, self.config = path.parent, table, config
        self.site = config.site or path.stem
        needed = ("subject",) if config.features else ("path", "subject")
        self.headings = {name: _need(table, name, config) for name in needed}
        named = config.columns | ({"site": config.site_column} if config.site_column else {})
        optional = ("session", "segmentation") if config.site else ("session", "segmentation", "site")
        for name in optional:
            if heading := find_column(table, name, named):
                self.headings[name] = heading
        self.columns = Columns.of([table], config)
        self.features = _features(table, self._taken(), config) if config.features else ()

    def _taken(self) -> set[str]:
        """Columns that mean something else than a feature."""
        columns = self.columns
        return {*self.headings.values(), *columns.labels.values(), columns.split or "", columns.traveller or ""}

    def cell(self, row: Row, name: str, default: str = "") -> str:
        """What a line says, `default` where the table has no such column."""
        return row.cells[self.headings[name]] if name in self.headings else default

    def add(self, found: Found, row: Row) -> None:
        """Take a line, or say why not."""
        place, subject = place_of(self.table, row), self.cell(row, "subject")
        if not is_wanted(subject, self.config):
            found.left_out += 1
            return
        found.people.add(subject.removeprefix("sub-"))
        try:
            scan = self._scan(row, subject, place)
            found.scans.append(describe(scan, row.cells, self.columns, self.config))
        except Refusal as refusal:
            found.refuse(self.cell(row, "site", self.site), refusal, place, self.cell(row, "path") or subject)

    def _scan(self, row: Row, subject: str, place: str) -> Scan:
        file, site = self.cell(row, "path"), self.cell(row, "site", self.site)
        needed = {"subject": subject, "site": site} | ({} if self.features else {"path": file})
        for name, cell in needed.items():
            if is_missing(cell):
                raise Refusal(f"no-{name}", f"has no {name}; fill it in")
        session, drawn = self.cell(row, "session").removeprefix("ses-"), self.cell(row, "segmentation")
        return Scan(
            site,
            subject.removeprefix("sub-"),
            "" if is_missing(session) else session,
            None if self.features else self.folder / file,
            place,
            {},
            features=tuple(_number(row, column, self.config) for column in self.features) or None,
            segmentation=None if is_missing(drawn) else self.folder / drawn,
        )


def _need(table: Table, name: str, config: PrepareConfig) -> str:
    if name == "path" and find_column(table, name, config.columns) is None:
        raise UserError(
            f"{table.name}: no column with the path of the scans; name it with --column path=…, or, when the table "
            "holds features instead of paths, name those with --features, e.g. --features '*_thickness'"
        )
    return need_column(table, name, config.columns)


def _features(table: Table, taken: set[str], config: PrepareConfig) -> tuple[str, ...]:
    chosen = tuple(
        column
        for column in table.columns
        if column not in taken and any(fnmatchcase(column, pattern) for pattern in config.features)
    )
    if not chosen:
        raise UserError(f"{table.name}: no column is like {' or '.join(config.features)}; look at its headings")
    for column in chosen:
        if not any(NUMBER.fullmatch(with_point(row.cells[column], config)) for row in table.rows):
            raise UserError(
                f"{table.name}: column {column!r} holds no numbers; choose with --features what is a feature, and read "
                "45,5 as 45.5 with --decimal-comma"
            )
    return chosen


def _number(row: Row, column: str, config: PrepareConfig) -> float:
    cell = with_point(row.cells[column], config)
    if not NUMBER.fullmatch(cell) or abs(float(cell)) > 1e30:
        hint = (
            "read 45,5 as 45.5 with --decimal-comma" if "," in cell else "correct it, or leave the scan or column out"
        )
        raise Refusal("feature", f"has no plain number in column {column!r}; {hint}")
    return float(cell)
