"""Stages, epochs, steps: the training loop, which goes on where a killed run stopped."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from torch.optim import SGD, Adam, AdamW, Optimizer

from distunlearn.config import RunConfig, StageConfig
from distunlearn.engine.checkpoint import Snapshot, newest, save
from distunlearn.engine.erase import fit_erasure
from distunlearn.engine.job import Job, build
from distunlearn.engine.meter import Meter
from distunlearn.engine.outcome import finish_stage, validate, write_scans
from distunlearn.engine.record import Record, hold
from distunlearn.engine.reset import reset_heads
from distunlearn.engine.resume import Position, refuse_other_run, restore, snapshot
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import Network, take_step
from distunlearn.engine.stop import STATUS, Wish, listening
from distunlearn.methods import ErasureConfig, phases_of
from distunlearn.progress import progress
from distunlearn.run_folder import CHECKPOINTS

ENDS: dict[str, Literal["FINISHED", "FAILED", "KILLED"]] = {
    "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "stopped": "KILLED",
}  # fmt: skip
"""How MLflow calls the states of STATUS.json."""
OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


def train(config: RunConfig, run: Path) -> bool:
    """Train a run from its configuration, or go on with it where it was stopped.

    Args:
        config: everything that determines the run.
        run: its folder; made if it is not there, continued if it holds checkpoints of the same configuration.

    Returns:
        Whether this process is rank 0, whose business it is to look at what came out.

    Raises:
        UserError: bad configuration, shards or launch; a folder that another process holds, or in which another
            configuration was trained.
        SystemExit: told to stop by a signal; everything is saved, and every rank ends with `stop.STATUS`.
    """
    runtime = Runtime(config.engine)
    try:
        job = build(config, runtime)
        if not runtime.is_main:
            _train(job, run)
            return False
        run.mkdir(parents=True, exist_ok=True)
        refuse_other_run(run, config)
        with hold(run):
            _train(job, run)
        return True
    finally:
        runtime.close()


def _train(job: Job, run: Path) -> None:
    record = Record(run, job.config, world_size=job.runtime.world_size, is_main=job.runtime.is_main)
    state, reason = "failed", "see the error that was printed"
    try:
        record.status("running")
        write_scans(job, record)
        with listening() as wish:
            done = Trainer(job, record, wish).run()
        state, reason = ("finished", "") if done else ("stopped", "told to stop; the same command goes on")
    except KeyboardInterrupt:
        state, reason = "killed", "interrupted"
        raise
    finally:
        record.status(state, reason)
        record.close(ENDS[state])
    if state == "stopped":
        job.runtime.wait()  # a launcher that sees one rank end may kill rank 0, which still speaks to MLflow
        raise SystemExit(STATUS)


class Trainer:
    """A run in progress."""

    def __init__(self, job: Job, record: Record, wish: Wish) -> None:
        self.job, self.record, self.wish = job, record, wish
        self.folder = record.run / CHECKPOINTS
        self.saved = time.monotonic()

    def run(self) -> bool:
        """Train every stage that is not done yet; False if told to stop before the end."""
        found, damaged = newest(self.folder)
        for line in damaged:
            self.record.say(line)
        first = 0
        for index, stage in enumerate(self.job.config.stages):
            steps = range(first, first + stage.epochs * self.job.plans["main"].steps_per_epoch)
            if found is None or found.state["stage"] <= index:
                if not self._stage(index, stage, steps, found):
                    return False
                found = None
            first = steps.stop
        return True

    def _stage(self, index: int, stage: StageConfig, steps: range, found: Snapshot | None) -> bool:
        optimisers = build_optimisers(stage, self.job.network)
        start = steps.start
        if found is not None:
            start = restore(found, self.job, self.record, optimisers).step
            self.record.say(f"going on with stage {stage.name!r} at step {start}")
        if start == steps.start and isinstance(stage.method, ErasureConfig):
            fit_erasure(self.job, stage.method)
        if not self._steps(index, stage, steps, start, optimisers):
            return False
        finish_stage(self.job, self.record, stage.name)
        self._save({}, Position(index + 1, steps.stop))
        return True

    def _steps(
        self, index: int, stage: StageConfig, steps: range, start: int, optimisers: dict[str, Optimizer]
    ) -> bool:
        job, meter, phases = self.job, Meter(self.job.runtime), phases_of(stage.method)
        per_epoch = job.plans["main"].steps_per_epoch
        with progress(stage.name, len(steps), "steps", visible=job.runtime.is_main) as advance:
            advance(start - steps.start)
            for done, batches in enumerate(job.steps(start, steps.stop), start + 1):
                reset_heads(job.network.parts, optimisers, step=done - 1 - steps.start, seed=job.config.seed)
                progress_done = (done - 1 - steps.start) / len(steps)
                losses = take_step(
                    job.network, phases, batches, optimisers, job.runtime.world_size, progress=progress_done
                )
                meter.add(losses)
                ends_epoch = (done - steps.start) % per_epoch == 0
                if not ends_epoch and done % job.config.engine.log_every:
                    advance()
                    continue
                figures, save_now, stop_now = meter.read(save=self._save_is_due(), stop=self.wish.stop)
                figures |= validate(job) if ends_epoch else {}
                self.record.log(figures, stage=stage.name, epoch=(done - 1 - steps.start) // per_epoch, step=done)
                advance(**_shown(figures))
                if save_now or stop_now:
                    self._save(optimisers, Position(index, done))
                if stop_now:
                    return False
        return True

    def _save_is_due(self) -> bool:
        return time.monotonic() - self.saved > 60 * self.job.config.engine.checkpoint_minutes

    def _save(self, optimisers: dict[str, Optimizer], position: Position) -> None:
        taken = snapshot(self.job, self.record, optimisers, position)  # every rank: random states are gathered
        if self.record.is_main:
            save(self.folder, taken, position.step)
        self.job.runtime.wait()
        self.saved = time.monotonic()


def build_optimisers(stage: StageConfig, network: Network) -> dict[str, Optimizer]:
    """One optimiser a phase, over the parameters of the parts that the phase updates."""
    build_one = OPTIMISERS[stage.optimiser]
    return {
        phase.name: build_one(
            [parameter for part in phase.updates for parameter in network.parts[part].parameters()],
            lr=stage.rate(phase.name),
            weight_decay=stage.weight_decay,
        )
        for phase in phases_of(stage.method)
    }


def _shown(figures: dict[str, float]) -> dict[str, float]:
    return {
        name.removeprefix("train/").removeprefix("val/"): value
        for name, value in figures.items()
        if name.startswith("train/") or name == "val/mae"
    }
