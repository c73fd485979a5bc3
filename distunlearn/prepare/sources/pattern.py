"""Folders in nobody's standard: images whose names follow a pattern, and a table of the people."""

import re
from collections import defaultdict
from dataclasses import replace
from glob import escape
from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import Refusal
from distunlearn.prepare.sources.scans import Columns, Found, Scan, describe, is_wanted, place_of, plain_name
from distunlearn.prepare.sources.tabular import Row, Table, find_column, is_missing, need_column, read_table

FIELD = re.compile(r"\{(\w+)\}")
TOKEN = re.compile(r"(\{\w+\}|\*\*/|\*)")


def find_files(folder: Path, pattern: str, config: PrepareConfig) -> Found:
    """Find the images below a folder whose path matches a pattern, and the row of each.

    Raises:
        UserError: the pattern has no {subject}, nothing matches it, or the table is unusable.
    """
    if "{subject}" not in pattern:
        raise UserError(f"images {pattern!r}: has no {{subject}}; say which part of the names is the person")
    _check_parts("segmentation", config.segmentation or "", pattern)
    expression = re.compile(_expression(pattern))
    matches = {
        path: match.groupdict()
        for path in sorted(folder.glob(_glob(pattern)))
        if (match := expression.fullmatch(path.relative_to(folder).as_posix()))
    }
    if not matches:
        raise UserError(f"images {pattern!r}: no file below the folder matches; look at its layout, and at --data")
    people = _People(folder, config)
    found = Found()
    wanted = _wanted(matches, config)
    found.left_out = len(matches) - len(wanted)
    found.people = {fields["subject"] for fields in wanted.values()}
    for path, fields in wanted.items():
        row, place = None, ""
        try:
            row = people.row(fields)
            place = people.place(row)
            drawn = _segmentation(folder, fields, config.segmentation) if config.segmentation else None
            found.scans.append(replace(people.scan(path, fields, row), segmentation=drawn))
        except Refusal as refusal:
            found.refuse(fields.get("site") or config.site or folder.name, refusal, place, str(path))
    return found


def _wanted(matches: dict[Path, dict[str, str]], config: PrepareConfig) -> dict[Path, dict[str, str]]:
    """The images of the participants asked for; of each session all, or the first."""
    wanted: dict[Path, dict[str, str]] = {}
    seen: set[tuple[str, ...]] = set()
    for path, fields in matches.items():
        session = tuple(fields.get(name, "") for name in ("site", "subject", "session"))
        if is_wanted(fields["subject"], config) and not (config.runs == "first" and session in seen):
            wanted[path] = fields
            seen.add(session)
    return wanted


def _glob(pattern: str) -> str:
    """The pattern with a `*` for every part in braces; two stars side by side are one."""
    parts: list[str] = []
    for token in filter(None, TOKEN.split(pattern)):
        part = "*" if FIELD.fullmatch(token) else token
        if not (part == "*" and parts and parts[-1] == "*"):
            parts.append(part)
    return "".join(parts)


def _expression(pattern: str) -> str:
    """A regular expression of the pattern; a part that comes twice must be the same twice."""
    seen: set[str] = set()
    parts = []
    for token in TOKEN.split(pattern):
        name = token[1:-1]
        if not FIELD.fullmatch(token):
            parts.append({"**/": "(?:.*/)?", "*": "[^/]*"}.get(token, re.escape(token)))
        else:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
            seen.add(name)
    return "".join(parts)


def _check_parts(option: str, template: str, pattern: str) -> None:
    """Refuse a template with parts in braces that the names of the images do not have."""
    if missing := set(FIELD.findall(template)) - set(FIELD.findall(pattern)):
        raise UserError(f"{option} {template!r}: {{{sorted(missing)[0]}}} is no part of images {pattern!r}")


def _segmentation(folder: Path, fields: dict[str, str], template: str) -> Path | None:
    """The segmentation of an image, whose place is written like that of the images."""
    named = FIELD.sub(lambda part: escape(fields[part[1]]), template)
    drawn = sorted(folder.glob(named))
    if len(drawn) > 1:
        raise Refusal("segmentation", "has more than one segmentation; say with --segmentation which")
    return drawn[0] if drawn else None


class _People:
    """The table of a folder, found by the parts of the images' names."""

    def __init__(self, folder: Path, config: PrepareConfig) -> None:
        self.config, self.default_site = config, config.site or folder.resolve().name
        self.table = read_table(folder / config.table) if config.table else None
        self.rows: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        self.templates: dict[str, str] = {}
        self.site_column: str | None = None
        self.columns = Columns.of([self.table] if self.table else [], config)
        if self.table:
            self._index(self.table)

    def _index(self, table: Table) -> None:
        self.templates = dict(self.config.match)
        if unknown := self.templates.keys() - set(table.columns):
            raise UserError(
                f"{table.name}: no column {sorted(unknown)[0]!r} to match; it has {', '.join(table.columns[:12])}"
            )
        if not self.templates:
            self.templates[need_column(table, "subject", self.config.columns)] = "{subject}"
            session = find_column(table, "session", self.config.columns)
            if session and "{session}" in (self.config.images or ""):
                self.templates[session] = "{session}"
        for template in self.templates.values():
            _check_parts("match", template, self.config.images or "")
        named = self.config.columns | ({"site": self.config.site_column} if self.config.site_column else {})
        self.site_column = find_column(table, "site", named)
        for row in table.rows:
            self.rows[tuple(plain_name(row.cells[column]) for column in self.templates)].append(row)

    def row(self, fields: dict[str, str]) -> Row | None:
        """The one row of an image."""
        if not self.table:
            return None
        rows = self.rows.get(tuple(plain_name(template.format_map(fields)) for template in self.templates.values()), [])
        if not rows:
            raise Refusal("no-row", f"has no line in {self.table.name}; add one, with n/a for what is not known")
        if len(rows) > 1:
            lines = " and ".join(str(row.line) for row in rows)
            raise Refusal("two-rows", f"has more than one line in {self.table.name} ({lines}); keep the right one")
        return rows[0]

    def place(self, row: Row | None) -> str:
        """Where the row stands."""
        return place_of(self.table, row) if self.table and row else ""

    def scan(self, path: Path, fields: dict[str, str], row: Row | None) -> Scan:
        """The scan with what its name and its row say."""
        cells = row.cells if row else {}
        of_row = cells[self.site_column] if self.site_column and row else self.default_site
        site = self.config.site or fields.get("site") or of_row
        if is_missing(site):
            raise Refusal("no-site", "has no site; fill it in")
        scan = Scan(site, fields["subject"], fields.get("session", ""), path, self.place(row), {})
        return describe(scan, cells, self.columns, self.config)
