"""Files with the source's own names, written and read only when asked: who is who, and who is in which split."""

from pathlib import Path

from distunlearn.errors import UserError
from distunlearn.prepare.assign import Sample
from distunlearn.prepare.sources.tabular import find_column, is_missing, need_column, read_table
from distunlearn.prepare.writing.disk import write_private
from distunlearn.shard_format import SPLITS

COLUMNS = ("site", "participant_id", "session_id", "split", "key", "subject", "source")

GivenSplits = dict[tuple[str | None, str], str]
"""(site, participant) to split; site None where a file does not name sites."""


def write_mapping(path: Path, sites: dict[str, list[Sample]]) -> None:
    """Write who is behind each key, mode 600; the file can be given back as a split file."""
    lines = ["\t".join(COLUMNS)]
    for site, samples in sites.items():
        for sample in samples:
            scan = sample.scan
            cells = (site, scan.subject, scan.session or "n/a", sample.split, sample.key, sample.subject)
            lines.append("\t".join((*cells, str(scan.path or "n/a"))))
    write_private(path, "\n".join(lines) + "\n")


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
        who = (row.cells[site] if site else None, row.cells[subject].removeprefix("sub-"))
        if given.setdefault(who, cell) != cell:
            raise UserError(f"{table.name} line {row.line}: this participant was in another split before; keep one")
    return given
