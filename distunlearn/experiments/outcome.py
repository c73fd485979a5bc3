"""What came of a suite in a few lines, which its page begins with: verdicts of its rows, and where errors rose or fell."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from distunlearn.experiments.results import SCANNER, Difference, done_runs
from distunlearn.experiments.suite import TRAININGS, Row, Suite
from distunlearn.run_folder import PROBE, read_json
from distunlearn.streaming.selection import Selection


def kind(row: Row) -> str:
    """How a row was trained, whatever its sites."""
    name = TRAININGS.get(row.training, row.title)
    if row.training != "unlearning" or row.unlearn == "base":
        return name
    return f"{name} on {row.unlearn.rule if isinstance(row.unlearn, Selection) else 'X_p'}"


def verdicts(out: Path, suite: Suite) -> list[str]:
    """A line a kind of training on several sites: how often the probes came to each verdict."""
    found: dict[str, Counter[str]] = {}
    for row in (row for row in suite.rows if len(row.sites) > 1):
        for stage in done_runs(out, suite, row).values():
            probe = read_json(stage / PROBE)
            failed = probe["collapse"]["reasons"] and probe["verdict"] != "collapsed"
            said = probe["verdict"] + (" with the task not learned" if failed else "")
            found.setdefault(kind(row), Counter())[said] += 1
    return [f"{name}: {_counted(counter)}" for name, counter in found.items()]


def changes(suite: Suite, differences: Sequence[Difference]) -> list[str]:
    """A line a comparison of two kinds: in how many cells the interval lies below zero, above it, or holds it."""
    rows = {row.id: row for row in suite.rows}
    found: dict[str, Counter[str]] = {}
    for each in differences:
        ours, theirs = kind(rows[each.contrast.row]), kind(rows[each.contrast.against])
        what = "scanner" if each.measure == SCANNER else "error"
        found.setdefault(f"{what}, {ours} against {theirs}", Counter())[_direction(each)] += 1
    return [f"{name}: {_counted(counter)}" for name, counter in found.items()]


def _direction(each: Difference) -> str:
    if each.interval.high < 0:
        return "less"
    return "more" if each.interval.low > 0 else "not shown"


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
