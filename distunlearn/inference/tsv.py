"""A table that grows row by row: what is written when something stops it is whole lines."""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from distunlearn.errors import UserError
from distunlearn.shard_format import MISSING


def write_rows(path: Path | None, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as TSV, each as soon as it is there; None is written as `n/a`.

    Args:
        path: where to; standard output if None.
        rows: the header first.

    Raises:
        UserError: the file cannot be written.
    """
    if path is None:
        _write(sys.stdout, rows)
        return
    try:
        file = path.open("w", newline="")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another place") from None
    with file:
        _write(file, rows)


def _write(file: TextIO, rows: Iterable[Iterable[Any]]) -> None:
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    for row in rows:
        writer.writerow([MISSING if cell is None else cell for cell in row])
        file.flush()
