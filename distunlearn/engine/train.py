"""A run from start to end: who may write its folder, what becomes of a signal or a fault, what is left behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from distunlearn.config import RunConfig
from distunlearn.engine.faults import Watch
from distunlearn.engine.job import Job, build
from distunlearn.engine.outcome import write_scans
from distunlearn.engine.record import Record, hold
from distunlearn.engine.reduction import Traffic
from distunlearn.engine.resume import newest_of_main, refuse_other_run
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.saver import Saver
from distunlearn.engine.stage import Stage
from distunlearn.engine.stop import STATUS, Wish, listening

ENDS: dict[str, Literal["FINISHED", "FAILED", "KILLED"]] = {
    "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "stopped": "KILLED",
}  # fmt: skip
"""How MLflow calls the states of STATUS.json."""


def train(config: RunConfig, run: Path) -> bool:
    """Train a run from its configuration, or go on with it where it was stopped.

    Args:
        config: everything that determines the run.
        run: its folder; made if it is not there, continued if it holds checkpoints of the same configuration.

    Returns:
        Whether this process is rank 0, whose business it is to look at what came out.

    Raises:
        UserError: bad configuration, shards or launch; a folder that another process holds, or in which another
            configuration was trained; a loss that is not finite; another rank that failed first (it is named).
        SystemExit: told to stop by a signal; everything is saved, and every rank ends with `stop.STATUS`.
    """
    with joined(config) as (job, watch):
        if not job.runtime.is_main:
            _train(job, run, watch)
            return False
        run.mkdir(parents=True, exist_ok=True)
        refuse_other_run(run, config)
        with hold(run):
            _train(job, run, watch)
        return True


@contextmanager
def joined(config: RunConfig, traffic: Traffic | None = None) -> Iterator[tuple[Job, Watch]]:
    """Meet the other ranks and build the run; an error in the block names the rank that failed first.

    Args:
        config: everything that determines the run.
        traffic: where to note what every backward pass sends.
    """
    runtime = Runtime(config.engine, traffic)
    watch = Watch(runtime)
    try:
        with watch.blaming():
            job = build(config, runtime)
            watch.sites = sites_of_ranks(job)
            yield job, watch
    finally:
        watch.close()
        runtime.close()


def _train(job: Job, run: Path, watch: Watch) -> None:
    record = Record(run, job.config, world_size=job.runtime.world_size, is_main=job.runtime.is_main)
    watch.run = run
    end = "failed"
    try:
        record.status("running")
        with watch.blaming():
            write_scans(job, record)
            with listening() as wish:
                done = _train_stages(job, Saver(job, record), wish)
                wish.followed = not done
        end = "finished" if done else "stopped"
        record.status(end, "" if done else "told to stop; the same command goes on")
    except KeyboardInterrupt:
        end = "killed"
        record.status(end, "interrupted")
        raise
    finally:
        record.close(ENDS[end])
    if end == "stopped":
        job.runtime.wait()  # a launcher that sees one rank end may kill rank 0, which still speaks to MLflow
        raise SystemExit(STATUS)


def _train_stages(job: Job, saver: Saver, wish: Wish) -> bool:
    """Train every stage that is not done yet; False if told to stop before the end."""
    found = newest_of_main(saver.folder, job, saver.record)
    first = 0
    for index, stage in enumerate(job.config.stages):
        steps = range(first, first + stage.epochs * job.plans["main"].steps_per_epoch)
        if found is None or found.state["stage"] <= index:
            if not Stage(job, saver, wish, index, steps).run(found):
                return False
            found = None
        first = steps.stop
    return True


def sites_of_ranks(job: Job) -> tuple[str | None, ...]:
    """For each rank the sites that it hosts, to name when it is lost; None where every rank reads every site."""
    placement, sites, world_size = job.loader.placement, job.study.sites, job.runtime.world_size
    hosted = (placement.hosted(sites, rank, world_size) for rank in range(world_size))
    return tuple(None if own is None else ", ".join(own) for own in hosted)
