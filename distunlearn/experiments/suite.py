"""A suite is data: rows to train, what the paper reports of each, and which rows are compared; rows become configurations."""

import fnmatch
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from distunlearn.config import RunConfig, StageConfig, TrackingConfig
from distunlearn.errors import UserError
from distunlearn.experiments.variant import Variant
from distunlearn.streaming.selection import Selection
from distunlearn.strict import Strict

Training = Literal["normal", "per_domain", "unlearning", "variant"]
"""normal: the task by the pooled mean; per_domain: by eq. (1); unlearning: the stages of the base configuration; variant:
these with what `Row.variant` changes."""
TRAININGS: dict[Training, str] = {
    "normal": "normal training",
    "per_domain": "per-domain loss",
    "unlearning": "unlearning",
}
"""How they are called; a variant by its row's title."""
SEED = "{seed}"
"""In the path of the shards: every seed has its own split, or its own study; seeds may also share a few in turn."""


class Arena(Strict):
    """What a suite is played on."""

    sites: tuple[str, ...]
    """In the places of the paper's Biobank, OASIS and Whitehall; more for leave-one-out."""
    label: str = "age"
    """Table 2: the label that the training scans are biased in."""
    border: float = 60.0
    """Table 2: the second site's training scans lie above it, the first site's below border + overlap."""
    overlaps: tuple[float, ...] = Field((5.0, 10.0, 15.0), min_length=1)
    """Table 2: widths of the overlap, in the label's unit."""
    groups: int = Field(5, gt=0)
    """The bar: groups of sites that are left out, each in its turn; every site alone where there are fewer."""
    repeats: int = Field(1, gt=0)
    """The bar: seeds of the trainings without a group."""
    splits: int | None = Field(None, gt=0)
    """The bar: splits or studies that the seeds share in turn; every seed has one of its own if not given."""


class Published(Strict):
    """A row as the paper prints it."""

    mae: dict[str, tuple[float, float]]
    """Of each site: mean absolute error and its SD over people, in years."""
    scanner: float | None = None
    """Scanner accuracy in percent; on which scans it was measured the paper does not say."""


class Row(Strict):
    """One training, repeated over seeds."""

    id: str = Field(pattern=r"^[\w-]+$")
    """Also the beginning of its folders' names."""
    title: str
    sites: tuple[str, ...]
    """Trained on; the other sites of the suite are evaluated all the same."""
    training: Training
    main: Selection | None = None
    """X_p; that of the base configuration if not given."""
    unlearn: Selection | Literal["base", "main"] = "base"
    """X_u: a rule, that of the base configuration, or X_p itself."""
    paper: Published | None = None
    variant: Variant = Variant()
    """With training `variant`."""
    repeats: int | None = None
    """Seeds that it is trained with, if fewer than the suite's."""

    def configure(self, base: RunConfig, *, suite: str, seed: int, split: int | None = None) -> RunConfig:
        """The row as a run of one seed.

        Args:
            base: what rows that do not say otherwise have.
            suite: its name.
            seed: of first weights and order of scans.
            split: what stands in the path of the shards for `{seed}`; the seed if not given.

        Raises:
            UserError: the base configuration lacks a stage that this row is made of.
        """
        unlearn = (
            {"base": base.data.unlearn, "main": None}[self.unlearn] if isinstance(self.unlearn, str) else self.unlearn
        )
        shared = in_mlflow(base, suite)
        changed = base.model_copy(
            update={
                "shards": base.shards.replace(SEED, str(seed if split is None else split)),
                "sites": self.sites,
                "seed": seed,
                **self._network_and_stages(base),
                "data": base.data.model_copy(update={"main": self.main or base.data.main, "unlearn": unlearn}),
                "tracking": shared.model_copy(
                    update={
                        "run_name": f"{self.id} seed {seed}",
                        "tags": shared.tags | {"row": self.id, "seed": str(seed)},
                    }
                ),
            }
        )
        return RunConfig.read(changed.model_dump(mode="json"), f"row {self.id}")

    def _network_and_stages(self, base: RunConfig) -> dict[str, object]:
        if self.training != "variant":
            return {"stages": _stages(base, self.training)}
        return {"encoder": self.variant.encoder(base), "stages": self.variant.stages(base)}


class Contrast(Strict):
    """Two rows that are compared person by person."""

    row: str
    against: str
    sites: tuple[str, ...]
    """At which the errors are compared."""


class Bar(Strict):
    """What a recipe is held to (`experiments.findings`)."""

    recipe: str
    """Its row."""
    baselines: tuple[str, ...]
    """Rows that its error is compared with; the first is what all rows are compared with."""
    left_out: tuple[tuple[str, ...], ...]
    """Rows of recipe and baselines, in this order, that were trained without the same sites."""


class Suite(Strict):
    """Everything that a table is rebuilt from, beside the run folders; stored as OUT/suite.json."""

    name: str
    title: str
    sites: tuple[str, ...]
    """Evaluated in every row."""
    rows: tuple[Row, ...]
    contrasts: tuple[Contrast, ...]
    pooled: bool = False
    """Also average the contrasts over their sites: every contrast is about a site of its own."""
    seeds: tuple[int, ...] = ()
    splits: tuple[int, ...] = ()
    """What the seeds share in turn, so that several trainings of a row see the same people; one a seed if empty."""
    bar: Bar | None = None

    def split(self, seed: int) -> int:
        """The split or study of a seed."""
        return self.splits[(seed - self.splits[0]) % len(self.splits)] if self.splits else seed

    def trainings(self) -> Iterator[tuple[Row, int]]:
        """Every row with each of its seeds, all rows of a seed before the next seed."""
        for place, seed in enumerate(self.seeds):
            yield from ((row, seed) for row in self.rows if row.repeats is None or place < row.repeats)

    def named(self, rows: str) -> tuple[str, ...]:
        """Ids of the rows that are meant by comma-separated names, in which `*` stands for anything.

        Raises:
            UserError: a name means no row.
        """
        ids, names = [row.id for row in self.rows], [name.strip() for name in rows.split(",")]
        if unknown := [name for name in names if not fnmatch.filter(ids, name)]:
            raise UserError(f"{self.name} has no row {', '.join(unknown)}; there are {', '.join(ids)}")
        return tuple(name for name in ids if any(fnmatch.fnmatch(name, wanted) for wanted in names))


def in_mlflow(base: RunConfig, suite: str) -> TrackingConfig:
    """The run of MLflow that stands for a suite; its trainings' runs, which are children of it, are in its experiment."""
    changed = {
        "experiment": f"{base.tracking.experiment}-{suite}",
        "run_name": suite,
        "tags": base.tracking.tags | {"suite": suite},
    }
    return base.tracking.model_copy(update=changed)


def _stages(base: RunConfig, training: Training) -> tuple[StageConfig, ...]:
    """Normal training takes as many epochs as the base configuration's stages together, so that rows differ in method only."""
    if training == "unlearning":
        if base.stages[-1].method.name == "standard":
            raise UserError("the base configuration has no stage that unlearns; give one such as --preset demo")
        return base.stages
    normal = next((stage for stage in base.stages if stage.method.name == "standard"), None)
    if normal is None:
        raise UserError(
            "the base configuration has no stage with method standard, which rows of normal training are made of; add one"
        )
    method = normal.method.model_copy(update={"loss": "pooled" if training == "normal" else "per_domain"})
    epochs = sum(stage.epochs for stage in base.stages)
    return (normal.model_copy(update={"name": "standard", "method": method, "epochs": epochs}),)


def need_sites(arena: Arena, suite: str, fewest: int) -> tuple[str, ...]:
    """The first sites of the arena.

    Raises:
        UserError: there are too few.
    """
    if len(arena.sites) < fewest:
        raise UserError(
            f"{suite} needs {fewest} sites, not {len(arena.sites)} ({', '.join(arena.sites)}); name them with --sites"
        )
    return arena.sites[:fewest]
