"""TSV and CSV files read as text, cell by cell: nothing is coerced, nothing shifted, nothing renamed."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from distunlearn.errors import UserError

ALIASES: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_path", "filepath", "image", "scan", "t1", "t1w", "nifti"),
    "subject": (
        "participant_id",
        "subject",
        "subject_id",
        "participant",
        "sub_id",
        "sub",
        "subjectid",
        "ptid",
        "rid",
        "id",
        "eid",
    ),
    "session": ("session_id", "session", "ses", "visit", "viscode", "timepoint"),
    "site": ("site", "site_id", "siteid", "center", "centre", "scanner"),
    "split": ("split",),
    "traveller": ("traveller", "traveler", "travelling_subject", "traveling_subject"),
    "age": ("age", "age_at_scan", "ageatscan", "age_years", "age_at_visit", "entry_age", "age_bl"),
    "sex": ("sex", "gender", "m/f", "ptgender"),
}
"""Headings under which a column is found when none is named; compared without case, spaces as underscores."""
MISSING_CELLS = ("", "n/a", "na", "nan", "null", "none", ".")
"""Cells, in lower case, that mean that a value is not known."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    line: int
    """Number of the line in the file, from 1; the header is line 1."""
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table as text."""

    name: str
    """The file's name, for messages."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    ragged: tuple[int, ...]
    """Lines with too many or too few cells; they are not in `rows`."""


def read_table(path: Path, *, name: str = "") -> Table:
    """Read a .tsv, or a .csv with commas or semicolons, in UTF-8 with or without a byte order mark.

    Args:
        path: the file.
        name: what to call it in messages; its own name by default.

    Raises:
        UserError: the file is missing, empty, of another encoding, or its header is unusable.
    """
    name = name or path.name
    text = _text(path, name)
    delimiter = _delimiter(path, text)
    try:
        lines = list(_lines(text, delimiter))
    except csv.Error as error:
        raise UserError(f"{name}: is not a table ({error}); close every quote") from None
    if not lines:
        raise UserError(f"{name}: is empty; it needs a line of headings and a line a scan")
    header = _header(name, lines[0][1], delimiter)
    width = len(header)
    fits = {n: len(cells) >= width and not any(map(str.strip, cells[width:])) for n, cells in lines[1:]}
    rows = tuple(
        Row(n, dict(zip(header, map(str.strip, cells[:width]), strict=True))) for n, cells in lines[1:] if fits[n]
    )
    return Table(name, header, rows, tuple(n for n, whole in fits.items() if not whole))


def find_column(table: Table, name: str, columns: dict[str, str]) -> str | None:
    """The heading of the column that holds `name`: the one named by the user, or one of its usual names.

    Raises:
        UserError: the named one is not there, or two headings could be meant.
    """
    if name in columns:
        if columns[name] not in table.columns:
            raise UserError(
                f"{table.name}: no column {columns[name]!r} for {name}; it has {', '.join(table.columns[:12])}"
            )
        return columns[name]
    names = ALIASES.get(name, (name.lower(),))
    found = [heading for heading in table.columns if _plain(heading) in names]
    exact = [heading for heading in found if _plain(heading) == names[0]]
    if len(found) > 1 and len(exact) != 1:
        raise UserError(
            f"{table.name}: columns {' and '.join(found)} could both be {name}; say which with --column {name}=…"
        )
    return next(iter(exact or found), None)


def need_column(table: Table, name: str, columns: dict[str, str]) -> str:
    """As `find_column`, for a column that must be there."""
    found = find_column(table, name, columns)
    if found is None:
        raise UserError(
            f"{table.name}: no column for {name}; say which one it is with --column {name}=… (it has {', '.join(table.columns[:12])})"
        )
    return found


def is_missing(cell: str) -> bool:
    """Whether a cell says that its value is not known."""
    return cell.strip().lower() in MISSING_CELLS


def _plain(heading: str) -> str:
    return heading.strip().lower().replace(" ", "_")


def _text(path: Path, name: str) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    if "\0" in text:
        raise UserError(f"{name}: holds NUL bytes, so it is no text table; save it as TSV or CSV in UTF-8")
    return text


def _delimiter(path: Path, text: str) -> str:
    header = re.sub(r'"[^"]*"', "", text.split("\n", 1)[0])  # a heading in quotes may hold commas
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=header.count)


def _lines(text: str, delimiter: str) -> "list[tuple[int, list[str]]]":
    lines = io.StringIO(text, newline="")
    if delimiter == "\t":  # BIDS tables know no quotes
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]


def _header(name: str, cells: list[str], delimiter: str) -> tuple[str, ...]:
    """The headings; an unnamed column, as pandas writes one for its index, gets its number for a name."""
    named = [cell.strip() for cell in cells]
    while named and not named[-1]:
        named.pop()  # spreadsheets like to end lines with commas
    header = tuple(heading or f"(column {n})" for n, heading in enumerate(named, start=1))
    twice = sorted({heading for heading in header if header.count(heading) > 1})
    if twice:
        raise UserError(f"{name}: has the column {twice[0]!r} twice; rename one")
    if len(header) == 1 and delimiter == "\t" and "," in header[0]:
        raise UserError(f"{name}: is named .tsv but has commas between its columns; name it .csv or use tabs")
    return header
