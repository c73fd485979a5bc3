"""What is run: what follows a training, and suites of runs. A new suite is one file here and one line in SUITES."""

from collections.abc import Callable

from distunlearn.experiments.bar import bar
from distunlearn.experiments.leave_one_out import leave_one_out
from distunlearn.experiments.suite import Arena, Suite
from distunlearn.experiments.table1 import table1
from distunlearn.experiments.table2 import table2

SUITES: dict[str, Callable[[Arena], Suite]] = {
    "table1": table1,
    "table2": table2,
    "leave-one-out": leave_one_out,
    "bar": bar,
}

__all__ = ["SUITES", "Arena", "Suite"]
