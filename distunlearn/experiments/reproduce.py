"""Run a suite: trainings as processes of their own (`crew`), what is done is not done again.

OUT/suite.json               the suite: rows, the paper's cells, what is compared, seeds
OUT/ROW-seedN.yaml           configuration of a training; OUT/ROW-seedN.log what it said
OUT/ROW-seedN/               its run folder (`distunlearn.run_folder`), and row.json once it is evaluated at all sites
OUT/table.tsv, differences.tsv, table.md, index.html   the table, rebuilt from the above alone; of the bar bar.tsv and bar.svg
OUT/mlflow.db                MLflow, unless MLFLOW_TRACKING_URI says otherwise; experiment, tags suite, row and seed
OUT/tracking/                what MLflow shall hold of the suite: a run that those of its trainings are children of
"""

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout

from distunlearn.config import RunConfig
from distunlearn.engine.resume import refuse_other_run
from distunlearn.errors import UserError
from distunlearn.evaluate.rerun import evaluate
from distunlearn.experiments.crew import Processes, given_to, state_of, trained
from distunlearn.experiments.suite import Row, Suite, in_mlflow
from distunlearn.probing.probe import probe_run
from distunlearn.progress import progress
from distunlearn.run_folder import PROBE, read_json, stages_done, write_json
from distunlearn.tracking import Tracker, announce

SUITE = "suite.json"
ROW = "row.json"
ONE = Processes()
Trainings = dict[Path, tuple[Row, RunConfig]]
"""By their run folders."""


def reproduce(
    suite: Suite,
    base: RunConfig,
    out: Path,
    *,
    only: Collection[str] | None = None,
    processes: Processes = ONE,
    full: bool = False,
) -> None:
    """Train and evaluate what is missing of a suite; rows of the first seed come first.

    Args:
        suite: with its seeds.
        base: network, stages and shards of every row.
        out: folder of the suite; one that was begun goes on.
        only: ids of the rows to train; all if None.
        processes: how many trainings at a time, and of how many processes each.
        full: all probes instead of the quick ones.

    Raises:
        UserError: a training failed (its log is named), or the folder holds other runs or another suite.
        SystemExit: a training was told to stop and has saved everything; the same command goes on.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _held(out):
        trainings = write_configurations(suite, base, out, only)
        done = [folder for folder in trainings if is_done(folder, full=full)]
        missing = [folder for folder in trainings if folder not in done]
        before = [folder for folder in missing if _is_trained(folder, trainings[folder][1])]
        with (
            _ended_in_mlflow(out),
            progress(f"Suite {suite.name}", len(trainings), "trainings") as advance,
            closing(trained([folder for folder in missing if folder not in before], processes)) as ended,
        ):
            advance(len(done))
            for folder in chain(before, ended):
                _conclude(suite, *trainings[folder], folder, full=full)
                advance()


def write_configurations(suite: Suite, base: RunConfig, out: Path, only: Collection[str] | None = None) -> Trainings:
    """Write the suite and the configuration of each training, so that a job array may train them.

    In it each is `distunlearn train --config OUT/ROW-seedN.yaml --out OUT/ROW-seedN`; `reproduce` then finds them done.

    Raises:
        UserError: the folder holds other runs or another suite.
    """
    out.mkdir(parents=True, exist_ok=True)
    _write_suite(suite, out)
    trainings = {
        folder_of(out, row, seed): (row, row.configure(base, suite=suite.name, seed=seed, split=suite.split(seed)))
        for row, seed in suite.trainings()
        if only is None or row.id in only
    }
    for folder, (_, config) in trainings.items():
        refuse_other_run(folder, config)
        given_to(folder).write_text(config.dump())
    shared = in_mlflow(base, suite.name)
    if shared.enabled:
        announce(out, experiment=shared.experiment, run_name=suite.name, tags=shared.tags)
    return trainings


def mirror_table(files: Collection[Path], out: Path) -> str:
    """Show the files of a table in the suite's run of MLflow and end it, within seconds whatever its server does.

    Returns:
        What to do if MLflow did not take them; empty if it did.
    """
    tracker = Tracker.reopen(out)
    for file in files:
        tracker.artifact(file)
    tracker.close("FINISHED")
    return "" if tracker.complete else f"MLflow did not take the table; `distunlearn sync {out}` adds it"


def folder_of(out: Path, row: Row, seed: int) -> Path:
    """The run folder of one seed of a row; flat, so that all runs of a suite share one MLflow."""
    return out / f"{row.id}-seed{seed}"


def read_suite(out: Path) -> Suite:
    """The suite of a folder.

    Raises:
        UserError: it is none.
    """
    return Suite.read(read_json(out / SUITE), str(out / SUITE))


def is_done(folder: Path, *, full: bool = False) -> bool:
    """Whether a training is finished, evaluated at all sites and probed, as thoroughly as is asked for."""
    if not ((folder / ROW).is_file() and state_of(folder) == "finished"):
        return False
    return not full or not any(read_json(stage / PROBE)["obtained"]["quick"] for stage in stages_done(folder))


def _write_suite(suite: Suite, out: Path) -> None:
    """Keep the suite; more seeds may be asked for later, another arena may not."""
    if (out / SUITE).is_file():
        before = read_suite(out)
        if before.model_copy(update={"seeds": ()}) != suite.model_copy(update={"seeds": ()}):
            raise UserError(f"{out}: holds suite {before.name} with other rows, sites or splits; give another --out")
        suite = suite.model_copy(update={"seeds": tuple(sorted({*before.seeds, *suite.seeds}))})
    write_json(out / SUITE, suite.model_dump(mode="json"))


def _is_trained(folder: Path, config: RunConfig) -> bool:
    return state_of(folder) == "finished" and (folder / config.stages[-1].name / PROBE).is_file()


def _conclude(suite: Suite, row: Row, config: RunConfig, folder: Path, *, full: bool) -> None:
    """Evaluate at the sites that the row was not trained on too, and say that this row is done."""
    if set(row.sites) != set(suite.sites):
        for stage in config.stages:
            evaluate(folder, stage.name, config.shards)
    if full:
        probe_run(folder)
    write_json(folder / ROW, {"suite": suite.name, "row": row.id, "seed": config.seed})


@contextmanager
def _ended_in_mlflow(out: Path) -> Iterator[None]:
    """Do not leave a suite that stops early running in MLflow, whatever stopped it; the table ends it once it is there."""
    try:
        yield
    except BaseException as end:
        Tracker.reopen(out).close("FAILED" if isinstance(end, Exception) else "KILLED")
        raise


@contextmanager
def _held(out: Path) -> Iterator[None]:
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(f"{out}: another process runs a suite there; wait for it or give another --out") from None
    try:
        yield
    finally:
        lock.release()
