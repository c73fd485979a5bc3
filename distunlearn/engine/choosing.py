"""Which weights a stage ends with: its last ones, or those of the epoch that did best on validation scans.

The rule `error` takes the epoch of the least validation error, as the paper's authors do; it prefers the epochs that
unlearned least. The rule `scanner` takes, among the epochs whose validation error is within a tolerance of that with
which the stage began, the one on which fresh probes tell the scanner least. The test split is never looked at.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from distunlearn.config import StageConfig
from distunlearn.engine.job import Job
from distunlearn.engine.outcome import validate
from distunlearn.errors import UserError
from distunlearn.evaluate.measure import predicted_by
from distunlearn.evaluate.predictions import Predictions, predict, tabled
from distunlearn.evaluate.sets import ScanSet, TooFew, validation_set
from distunlearn.evaluate.stage import Stage, with_people
from distunlearn.probing.validation import as_error, scanner_accuracy

SCANNER = "val/scanner_accuracy"
"""Balanced accuracy of the strongest fresh probe on label-matched validation scans."""


@dataclass(frozen=True)
class Kept:
    """The weights that a stage would end with if it ended now."""

    limit: float
    """Validation error up to which one epoch is as good as another."""
    rank: tuple[float, float] = (math.inf, math.inf)
    """What epochs are ordered by, least first: how far the error is above the limit, then how far the scanner is told
    from chance, to either side."""
    epoch: int = -1
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """By part and name; none before the first epoch has ended."""

    def after(self, epoch: int, error: float, told: float, weights: Mapping[str, Tensor]) -> "Kept":
        """When an epoch has ended: this one, or that epoch's if it is better."""
        rank = (max(error - self.limit, 0.0), told)
        if not rank < self.rank:  # nor where the error is not a number
            return self
        return Kept(self.limit, rank, epoch, {name: value.detach().clone() for name, value in weights.items()})

    @property
    def within(self) -> bool:
        """Whether its error is within the limit."""
        return self.rank[0] == 0


def error_of(figures: Mapping[str, float], stage: StageConfig) -> float:
    """The figure of an epoch that a stage watches, as an error.

    Raises:
        UserError: there is no such figure.
    """
    if stage.watch not in figures:
        known = ", ".join(name for name in figures if name.startswith("val/"))
        raise UserError(f"stage {stage.name}: watch={stage.watch} is no figure of an epoch; there are {known}")
    return as_error(stage.watch, figures[stage.watch])


class Chooser:
    """Keeps the weights of the best epoch of one stage so far; every rank comes to the same choice."""

    def __init__(self, job: Job, stage: StageConfig) -> None:
        self.job, self.stage = job, stage
        self._scans: ScanSet | None = None

    def begin(self) -> Kept | None:
        """What a stage starts with, None where it keeps its last weights; to be called by every rank.

        Raises:
            UserError: too few validation people of the same label to tell the scanner on.
        """
        if self.stage.choose == "last":
            return None
        if self.stage.choose == "error":
            return Kept(limit=0.0)
        self.figures()  # refuses too few people now and not after an epoch
        baseline = self.stage.baseline
        if baseline is None:
            baseline = error_of(validate(self.job), self.stage)
        return Kept(limit=baseline * (1 + self.stage.tolerance))

    def figures(self) -> dict[str, float]:
        """How well fresh probes tell the scanner now, where the choice needs it; to be called by every rank."""
        if self.stage.choose != "scanner":
            return {}
        found, features = self._validation()
        accuracy = scanner_accuracy(features, found) if self.job.runtime.is_main else math.nan
        # Rank 0's, because another machine's last digits could lead to another choice.
        return {SCANNER: float(json.loads(self.job.runtime.from_main(json.dumps(accuracy).encode())))}

    def after(self, kept: Kept, epoch: int, figures: Mapping[str, float], weights: Mapping[str, Tensor]) -> Kept:
        """The choice after an epoch with these figures."""
        told = abs(figures[SCANNER] - self._chance()) if SCANNER in figures else 0.0
        return kept.after(epoch, error_of(figures, self.stage), told, weights)

    def _chance(self) -> float:
        assert self._scans is not None
        return 1 / len(self._scans.sites)

    def _validation(self) -> tuple[ScanSet, Float[np.ndarray, "n F"]]:
        """The scans that probes are tried on, and their features; one message a rank."""
        job, model = self.job, self.job.model()
        model.set_training(False)
        said = predict(model, job.evaluation("val"), job.runtime.device).packed()
        model.set_training(True)
        said = job.runtime.gather_rows(said)
        table, features = tabled(job.study, Predictions.unpacked(said, len(model.task.columns)), model.task)
        if self._scans is None:
            sites, what = tuple(sorted(job.study.sites)), predicted_by(job.config.task.model_dump())
            self._scans = self._matched(Stage(Path(self.stage.name), with_people(table), features, sites, what))
        return self._scans, features[self._scans.rows].astype(np.float64)

    def _matched(self, stage: Stage) -> ScanSet:
        scans = validation_set(stage)
        if isinstance(scans, TooFew):
            raise UserError(
                f"stage {self.stage.name}: choose=scanner: {scans.why}; hold more people out for validation "
                "(`distunlearn shard --val`), or keep the last weights (choose: last)"
            )
        return scans


def in_words(kept: Kept, stage: StageConfig) -> str:
    """Which epoch was taken, and why."""
    if not kept.weights:
        return f"stage {stage.name!r} keeps its last weights: no epoch had a validation error that is a number"
    which = f"stage {stage.name!r} keeps the weights of epoch {kept.epoch + 1} of {stage.epochs}"
    if stage.choose == "error":
        return f"{which}: the least {stage.watch}, {kept.rank[0]:.3g}"
    if not kept.within:
        return f"{which}: no epoch came within {kept.limit:.3g} of {stage.watch}; this one came nearest"
    return f"{which}: of those with {stage.watch} up to {kept.limit:.3g}, the one whose scanner is told least"
