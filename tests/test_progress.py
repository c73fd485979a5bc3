"""Progress says how far, how fast and how long still: in lines of a log, or as a bar on a terminal."""

import io
import re
import sys

import pytest

from distunlearn import progress as module
from distunlearn.progress import progress

LINE = r"training: (\d+)/20 steps, (\d+\.\d)/s, (\d+) s left  loss 0\.25"


class Terminal(io.StringIO):
    """A file that says that somebody is looking."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_lines_of_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line now and then and one at the end; steps of an earlier process make it no faster."""
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    with progress("training", 20, "steps", done=10) as advance:
        for _ in range(10):
            advance(loss=0.25)
    lines = capsys.readouterr().err.splitlines()
    found = [match.groups() for match in map(re.compile(LINE).fullmatch, lines) if match]
    assert found == [("15", "0.5", "10"), ("20", "0.5", "0")]
    assert len(found) == len(lines)


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends full, with the figures beside it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("training", 3, "steps", done=1) as advance:
        advance(2, loss=0.25)
    assert "3/3" in terminal.getvalue()
    assert "loss 0.25" in terminal.getvalue()


def test_other_ranks_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is shown where it is not visible."""
    with progress("training", 3, "steps", visible=False) as advance:
        advance(3)
    assert capsys.readouterr().err == ""
