"""The rows of the results table, after the paper's Table 1: one a stage of a run, read by page, terminal and figures alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distunlearn.evaluate.measure import Measure
from distunlearn.evaluate.summary import FEWEST_PEOPLE, errors_by_person
from distunlearn.metrics import Interval, mean_over_sites
from distunlearn.probing.verdict import main_set
from distunlearn.report.record import RunRecord, StageRecord


@dataclass(frozen=True)
class Row:
    """One stage's results on the test split."""

    name: str
    """The stage's name, with the run's before it where several runs are shown."""
    run: RunRecord
    stage: StageRecord

    @property
    def cells(self) -> dict[str, dict[str, Any]]:
        """The test summary of each site."""
        cells: dict[str, dict[str, Any]] = self.stage.summary["splits"].get("test", {})
        return cells

    @property
    def probe(self) -> dict[str, Any] | None:
        """The probe's findings, None where it has not been run."""
        return self.stage.probe

    @property
    def tried(self) -> dict[str, dict[str, Any]]:
        """The sets on which the scanner was probed."""
        sets = self.probe["sets"] if self.probe else {}
        return {name: found for name, found in sets.items() if "too_few" not in found}

    @property
    def main(self) -> str | None:
        """The set whose figures stand for all."""
        return main_set(self.tried) if self.tried else None

    @property
    def chance(self) -> str:
        """Balanced accuracy of guessing among the sites of the main set, in percent."""
        return f"{100 * self.tried[self.main]['chance']:.0f}" if self.main else "–"

    @property
    def travellers(self) -> dict[str, Any]:
        """What scanners make of one person; empty where there are no travelling subjects."""
        return (self.probe["travellers"] if self.probe else None) or {}

    @property
    def measure(self) -> Measure:
        """What the cells hold: a mean absolute error, an error rate, a Dice score."""
        return self.stage.stage.predicted.measure

    @property
    def unit(self) -> str:
        """Of what is predicted; none where that is a class or a segmentation, whose figures are shares."""
        return "" if self.measure.unit == "%" else self.measure.unit

    @property
    def mean_error(self) -> float | None:
        """The test error, every site weighing the same; None where no site has enough people."""
        return self._mean("error")

    @property
    def mean_constant_error(self) -> float | None:
        """That of giving everybody the same answer; None where there is no such answer."""
        return self._mean("constant_error")

    @property
    def before(self) -> StageRecord | None:
        """The stage before in the same run."""
        pairs = zip(self.run.stages, self.run.stages[1:], strict=False)
        return next((earlier for earlier, stage in pairs if stage is self.stage), None)

    @property
    def error_change(self) -> Interval | None:
        """The test error against the stage before, person by person, mean over sites; None where it cannot be told."""
        if self.before is None:
            return None
        now, then = (errors_by_person(each.stage.table, self.measure) for each in (self.stage, self.before))
        apart = (now - then).dropna()
        apart = apart.loc[apart.groupby(level="site").transform("size").to_numpy() >= FEWEST_PEOPLE]
        if apart.empty:
            return None
        return mean_over_sites(apart.to_numpy(), apart.index.get_level_values("site").to_numpy(str))

    def _mean(self, key: str) -> float | None:
        values = [cell[key] for cell in self.cells.values() if cell.get(key) is not None]
        return sum(values) / len(values) if values else None

    def error(self, site: str) -> str:
        """A cell of the table: mean ± SD over people."""
        cell = self.cells.get(site, {})
        return f"{cell['error']:.2f} ± {cell['sd']:.2f}" if "error" in cell else "–"

    def beside_error(self, site: str) -> str:
        """What stands below it: the error of answering the median of the training targets."""
        cell = self.cells.get(site, {})
        if "error" not in cell:
            return str(cell.get("suppressed", "no scans"))
        constant = cell["constant_error"]
        return "" if constant is None else f"{self.measure.constant_name} {constant:.2f}"

    @property
    def worst(self) -> str | None:
        """The site with the worst error."""
        sign = -1 if self.measure.more_is_better else 1
        errors = {site: sign * cell["error"] for site, cell in self.cells.items() if "error" in cell}
        return max(errors, key=lambda site: float(errors[site])) if errors else None

    def unseen(self, site: str) -> bool:
        """Whether the site was left out of training."""
        return site not in self.stage.stage.sites

    @property
    def accuracy(self) -> str:
        """Scanner accuracy of the strongest probe in percent, with its interval."""
        return f"{percent(self.tried[self.main]['strongest'])}" if self.main else "–"

    @property
    def floor(self) -> str:
        """What age with the model's own error reaches on the same scans, in percent."""
        return f"{100 * self.tried[self.main]['floor']['label_with_error']['value']:.0f}" if self.main else "–"

    @property
    def beside_accuracy(self) -> str:
        """Chance and floor, as they stand beside it."""
        if not self.main:
            return "too few scans" if self.probe else "not probed"
        return f"chance {self.chance}, by age {self.floor}; {self.main}"

    @property
    def verdict(self) -> str:
        """The verdict in a few words."""
        return self.probe["verdict"] if self.probe else "not probed"


def percent(interval: Mapping[str, Any]) -> str:
    """An accuracy and its interval in percent."""
    return f"{100 * interval['value']:.0f} [{100 * interval['low']:.0f}, {100 * interval['high']:.0f}]"


def result_rows(runs: Sequence[RunRecord]) -> list[Row]:
    """The rows of all runs, in the order in which they were given and trained."""
    several = len(runs) > 1
    return [
        Row(f"{run.name}: {stage.name}" if several else stage.name, run, stage)
        for run in runs
        for stage in (*run.stages, *run.elsewhere)
    ]
