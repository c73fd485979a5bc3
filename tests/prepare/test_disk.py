"""Files that are whole or not there."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from distunlearn.prepare.writing.disk import whole_file, write_private


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    """While it is written, and when writing fails, the name stands for what was there before."""
    path = tmp_path / "manifest.json"
    path.write_text("old")
    with whole_file(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with suppress(OSError), whole_file(path) as stream:
        stream.write(b"half")
        raise OSError("disk full")
    assert path.read_text() == "new"


def test_a_part_that_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    """The next process writes over it."""
    (tmp_path / ".table.tsv.part").write_text("left over")
    with whole_file(tmp_path / "table.tsv") as stream:
        stream.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["table.tsv"]


def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    """Mode 600 whatever the umask, and before anything is in it."""
    mask = os.umask(0)
    try:
        write_private(tmp_path / "secret", "x")
        with whole_file(tmp_path / "open", mode=0o600) as stream:
            assert stat.S_IMODE(os.fstat(stream.fileno()).st_mode) == 0o600
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
