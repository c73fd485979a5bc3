"""The bar as it is shown: what is met and what is not, then every row's error and probe, and the figure of both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from distunlearn.experiments.findings import MOST_EXCESS, Finding, changes_at_left_out, findings
from distunlearn.experiments.intervals import as_text
from distunlearn.experiments.standing import Standing, standings
from distunlearn.experiments.suite import Bar, Suite
from distunlearn.metrics import Interval
from distunlearn.report.drawing import INK, PALE, blank, colour, legend, marker

HEAD = (
    "row", "seeds", "MAE, people", "MAE, mean over sites", "change, people %", "change, sites %",
    "strongest probe", "label with error", "difference", "ms a step",
)  # fmt: skip
NOTE = (
    "Means over seeds. MAE of test people (of validation people where a study for development has no test). Changes "
    "against the first row: [low, high] is a 90% interval, so that its upper end is the one-sided upper 95% end. "
    "Probe: balanced accuracy on held-out scans; the label with the model's own error is probed in the same way; "
    "[low, high] of the difference is a 95% interval. All intervals are Student's over splits; where "
    "several seeds share a split, they are averaged first, errors person by person."
)
FINDINGS = ("what", "found", "bar", "")
CAPTION = (
    "Every method at its error and at the balanced accuracy of the strongest probe, means over seeds; lines are 95% "
    "intervals of the probe above its floor. Dashed: what the label with the recipe's own error tells; dotted: the bar."
)


@dataclass(frozen=True)
class BarTable:
    """What is shown of the bar."""

    recipe: str
    """Its row's id."""
    findings: list[Finding]
    rows: list[Standing]
    left_out: dict[str, float]
    """Against the first baseline."""

    def found(self) -> list[list[str]]:
        """A line a finding."""
        return [
            [each.what, as_text(each.figure, each.digits), f"upper end ≤ {each.most:g}", each.says]
            for each in self.findings
        ]

    def lines(self) -> list[list[str]]:
        """A line a row, as `HEAD`."""
        return [
            [
                each.row.title, str(each.seeds), f"{each.error:.2f}", f"{each.error_of_sites:.2f}",
                as_text(each.change, 1), as_text(each.change_of_sites, 1), f"{each.probe:.3f}", f"{each.floor:.3f}",
                as_text(each.excess, 3), "–" if math.isnan(each.milliseconds) else f"{each.milliseconds:.0f}",
            ]
            for each in self.rows
        ]  # fmt: skip

    @property
    def below(self) -> str:
        """What stands below the table."""
        on = "; ".join(sorted({each.on for each in self.rows}))
        sites = ", ".join(f"{site} {change:+.1f}" for site, change in self.left_out.items())
        chance = f"chance {self.rows[0].chance:.3f}" if self.rows else ""
        return f"{NOTE} Probed on {on}; {chance}." + (f" Change at each left-out site, %: {sites}." if sites else "")

    def write(self, path: Path) -> None:
        """All figures as TSV."""
        pd.DataFrame([_flat(each) for each in self.rows]).to_csv(path, sep="\t", index=False, float_format="%.5f")


def read(out: Path, suite: Suite, bar: Bar) -> BarTable:
    """From the files of a suite."""
    rows = standings(out, suite, bar)
    away = changes_at_left_out(out, suite, bar)
    return BarTable(bar.recipe, findings(suite, bar, rows, away), rows, away[bar.baselines[0]])


def frontier(table: BarTable) -> Figure:
    """Error against probe, every method."""
    figure, axes = blank(
        "mean absolute error, all people (years)", "strongest probe, balanced accuracy", size=(6.4, 4.2)
    )
    names = [each.row.id for each in table.rows]
    for each in table.rows:
        # Student's interval of two splits reaches beyond what an accuracy can be.
        ends = [
            [min(each.excess.value - each.excess.low, each.probe)],
            [min(each.excess.high - each.excess.value, 1 - each.probe)],
        ]
        style: dict[str, Any] = {"color": colour(names, each.row.id), "marker": marker(names, each.row.id)}
        axes.errorbar([each.error], [each.probe], yerr=None if math.isnan(each.excess.low) else ends, markersize=6,
                      linewidth=1, linestyle="none", label=each.row.title, **style)  # fmt: skip
    for each in (each for each in table.rows if each.row.id == table.recipe):
        axes.axhline(each.floor, color=INK, linewidth=0.8, linestyle="--")
        axes.axhline(each.floor + MOST_EXCESS, color=PALE, linewidth=0.8, linestyle=":")
    legend(axes)
    return figure


def _flat(each: Standing) -> dict[str, object]:
    named: Sequence[tuple[str, Interval]] = (
        ("change", each.change), ("change_of_sites", each.change_of_sites), ("excess", each.excess),
    )  # fmt: skip
    ends = {
        f"{name}{end}": value
        for name, figure in named
        for end, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high))
    }
    return {
        "row": each.row.id, "seeds": each.seeds, "error": each.error, "error_of_sites": each.error_of_sites,
        "probe": each.probe, "floor": each.floor, "chance": each.chance, **ends, "ms_a_step": each.milliseconds,
        "on": each.on,
    }  # fmt: skip
