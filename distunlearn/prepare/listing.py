"""A CSV or TSV with one line a scan: where the file is, who it is, and what is known of them."""

from pathlib import Path

from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import Dropped, Refusal
from distunlearn.prepare.scans import Columns, Found, Scan, place_of, with_row
from distunlearn.prepare.tabular import Row, Table, find_column, is_missing, need_column, read_table


def find_listed(path: Path, config: PrepareConfig) -> Found:
    """Find the scans of a table with a path column; relative paths start at the table's folder.

    Without a site column every line belongs to the site that is named, or to one named like the file.

    Raises:
        UserError: the table's structure is unusable.
    """
    table = read_table(path)
    headings = {name: need_column(table, name, config.columns) for name in ("path", "subject")}
    named = config.columns | ({"site": config.site_column} if config.site_column else {})
    for name in ("session", "site"):
        heading = find_column(table, name, named)
        if heading and not (name == "site" and config.site):
            headings[name] = heading
    columns = Columns.of([table], config)
    found = Found()
    for row in table.rows:
        _add(found, row, table, _Lines(path.parent, headings, columns, config, config.site or path.stem))
    found.dropped += [Dropped("", "ragged-row", "has too many or too few cells; correct the line", f"{table.name} line {n}", "")
                      for n in table.ragged]  # fmt: skip
    return found


class _Lines:
    """How the lines of one table are read."""

    def __init__(
        self, folder: Path, headings: dict[str, str], columns: Columns, config: PrepareConfig, site: str
    ) -> None:
        self.folder, self.headings, self.columns, self.config, self.site = folder, headings, columns, config, site

    def cell(self, row: Row, name: str, default: str = "") -> str:
        """What a line says, `default` where the table has no such column."""
        return row.cells[self.headings[name]] if name in self.headings else default


def _add(found: Found, row: Row, table: Table, lines: _Lines) -> None:
    place, file = place_of(table, row), lines.cell(row, "path")
    subject = lines.cell(row, "subject").removeprefix("sub-")
    site = lines.cell(row, "site", lines.site)
    site = lines.config.values.get("site", {}).get(site, site)
    wanted = {name.removeprefix("sub-") for name in lines.config.participants}
    if wanted and subject not in wanted:
        found.left_out += 1
        return
    try:
        for name, cell in (("path", file), ("subject", subject), ("site", site)):
            if is_missing(cell):
                raise Refusal(f"no-{name}", f"has no {name}; fill it in")
        session = lines.cell(row, "session").removeprefix("ses-")
        scan = Scan(site, subject, "" if is_missing(session) else session, lines.folder / file, place, {})
        found.scans.append(with_row(scan, row.cells, lines.columns, lines.config))
    except Refusal as refusal:
        found.refuse(site, refusal, place, file)
