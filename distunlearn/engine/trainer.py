"""Stages, epochs, steps: the training loop, which goes on where a killed run stopped."""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from safetensors import SafetensorError
from torch.nn import Parameter

from distunlearn.config import StageConfig
from distunlearn.engine.checkpoint import Snapshot, save
from distunlearn.engine.choosing import Chooser, error_of, in_words
from distunlearn.engine.diagnose import RankError, not_finite
from distunlearn.engine.erase import fit_erasure
from distunlearn.engine.job import Job
from distunlearn.engine.local import Averaging
from distunlearn.engine.meter import Meter, Reading
from distunlearn.engine.outcome import finish_stage, validate
from distunlearn.engine.record import Record
from distunlearn.engine.reduction import parameter_sums
from distunlearn.engine.reset import reset_heads
from distunlearn.engine.resume import Position, newest_of_main, put_weights, restore, snapshot, weights
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.step import Network, StepBatch, take_step
from distunlearn.engine.stop import Wish
from distunlearn.engine.update import Update
from distunlearn.engine.updates import build_updates, set_rates
from distunlearn.errors import UserError
from distunlearn.evaluate.health import findings
from distunlearn.methods import ErasureConfig, phases_of
from distunlearn.progress import progress
from distunlearn.run_folder import CHECKPOINTS

FAILED_SAVES = 3
"""Saves in a row that may fail before training stops: a disk that was full for a while costs nothing."""


class Trainer:
    """A run in progress."""

    def __init__(self, job: Job, record: Record, wish: Wish) -> None:
        self.job, self.record, self.wish = job, record, wish
        self.folder = record.run / CHECKPOINTS
        self.saved = time.monotonic()
        self.failed_saves = 0

    def run(self) -> bool:
        """Train every stage that is not done yet; False if told to stop before the end."""
        found = newest_of_main(self.folder, self.job, self.record)
        first = 0
        for index, stage in enumerate(self.job.config.stages):
            steps = range(first, first + stage.epochs * self.job.plans["main"].steps_per_epoch)
            if found is None or found.state["stage"] <= index:
                if not Stage(self, index, stage, steps).run(found):
                    return False
                found = None
            first = steps.stop
        return True

    def save_is_due(self) -> bool:
        """Whether the last save is long enough ago."""
        return time.monotonic() - self.saved > 60 * self.job.config.engine.checkpoint_minutes

    def save(self, updates: Mapping[str, Update], position: Position, *, must: bool) -> None:
        """Save everything; a few failures in a row are borne unless it `must` be now.

        Raises:
            UserError: naming the folder, what is needed and what is free.
        """
        taken = snapshot(self.job, self.record, updates, position)  # every rank: random states are gathered
        if self.record.is_main:
            try:
                save(self.folder, taken, position.step)
                self.failed_saves = 0
            except (OSError, SafetensorError) as error:
                self._bear(error, taken, must=must)
        self.job.runtime.wait()
        self.saved = time.monotonic()

    def _bear(self, error: Exception, taken: Snapshot, *, must: bool) -> None:
        self.failed_saves += 1
        needed = sum(value.nbytes for value in taken.tensors.values()) / 2**20
        free = shutil.disk_usage(self.record.run).free / 2**20
        line = (
            f"{self.folder}: a checkpoint cannot be written ({getattr(error, 'strerror', None) or error}): "
            f"{needed:.0f} MB needed, {free:.0f} MB free; earlier checkpoints are as they were"
        )
        if must or self.failed_saves >= FAILED_SAVES:
            raise UserError(line) from error
        self.record.say(line)


class Stage:
    """One stage of a run in progress."""

    def __init__(self, trainer: Trainer, index: int, config: StageConfig, steps: range) -> None:
        self.trainer, self.job, self.record = trainer, trainer.job, trainer.record
        self.index, self.config, self.steps = index, config, steps
        self.phases = phases_of(config.method)
        self.per_epoch = self.job.plans["main"].steps_per_epoch
        self.updates = build_updates(config, self.job.network, self.job.runtime)
        self.meter = Meter(self.job.runtime, self.updates)
        period = self.job.config.engine.average_every
        local = period > 1 and self.job.runtime.world_size > 1
        self.averaging = Averaging(self._parameters(), self.updates, period) if local else None
        self.position = Position(index, steps.start)
        self.chooser = Chooser(self.job, config)
        self.remarked: set[str] = set()
        """Kinds of remarks on the health of the training that hold since the last epoch."""

    def run(self, found: Snapshot | None) -> bool:
        """Train from its beginning or from where a snapshot of it was taken; False if told to stop."""
        if found is not None:
            self.position = restore(found, self.job, self.record, self.updates)
            self.record.say(f"going on with stage {self.config.name!r} at step {self.position.step}")
        if self.position.step == self.steps.start and isinstance(self.config.method, ErasureConfig):
            fit_erasure(self.job, self.config.method)
        if self.position.kept is None:
            self.position = replace(self.position, kept=self.chooser.begin())
        if not self._train():
            return False
        self._put_back_kept()
        finish_stage(self.job, self.record, self.config.name)
        self.trainer.save({}, Position(self.index + 1, self.steps.stop), must=True)
        return True

    def _put_back_kept(self) -> None:
        kept = self.position.kept
        if kept is None:
            return
        self.record.say(in_words(kept, self.config))
        if kept.weights:
            put_weights(self.job, kept.weights)
            self.record.log(
                {"kept/epoch": kept.epoch}, stage=self.config.name, epoch=kept.epoch, step=self.position.step
            )

    def _train(self) -> bool:
        start = self.position.step
        done, visible = start - self.steps.start, self.job.runtime.is_main
        with progress(self.config.name, len(self.steps), "steps", done=done, visible=visible) as advance:
            batches = self.job.steps(start, self.steps.stop)
            for step, batch in enumerate(self.meter.waiting(batches), start):
                self._step(step, batch)
                if not self._ends_line(step + 1):
                    advance()
                    continue
                reading = self._read(step + 1)
                advance(epoch=self._epoch(step + 1) + 1, **_shown(reading.figures))
                if reading.save or reading.stop:
                    self.trainer.save(self.updates, self.position, must=reading.stop)
                if reading.stop or self._is_over():
                    return not reading.stop
        return True

    def _parameters(self) -> Iterator[Parameter]:
        return (value for part in self.job.network.parts.values() for value in part.parameters())

    def _step(self, step: int, batch: StepBatch) -> None:
        engine = self.job.config.engine
        set_rates(
            self.config, self.updates,
            step=step - self.steps.start, steps=len(self.steps), per_epoch=self.per_epoch,
        )  # fmt: skip
        optimisers = {name: update.optimiser for name, update in self.updates.items()}
        reset_heads(self.job.network.parts, optimisers, step=step - self.steps.start, seed=self.job.config.seed)
        done = (step - self.steps.start) / len(self.steps)
        outcomes = take_step(self.job.network, self.phases, batch, self.updates, progress=done, pieces=engine.pieces)
        self.meter.add(outcomes)
        if self.averaging is not None:
            self.averaging.after(step + 1, now=self._ends_line(step + 1))

    def _epoch(self, done: int) -> int:
        return (done - 1 - self.steps.start) // self.per_epoch

    def _ends_epoch(self, done: int) -> bool:
        return (done - self.steps.start) % self.per_epoch == 0

    def _ends_line(self, done: int) -> bool:
        return self._ends_epoch(done) or done % self.job.config.engine.log_every == 0

    def _read(self, done: int) -> Reading:
        """Bring the figures together, refuse what must not be saved, write a line of metrics."""
        job, steps = self.job, range(done - self.meter.steps, done)
        reading = self.meter.read(save=self.trainer.save_is_due(), stop=self.trainer.wish.stop)
        if not reading.is_finite:
            raise not_finite(job, reading.figures, steps)
        refuse_ranks_apart(job.runtime, job.network, done)
        reading.figures["time/scans_per_second"] = job.config.data.batch / reading.figures["time/seconds_per_step"]
        self.position, epoch = replace(self.position, step=done), self._epoch(done)
        if self._ends_epoch(done):
            reading.figures.update(validate(job) | self.chooser.figures())
            self._look_back(epoch, reading.figures)
        self.record.log(reading.figures, stage=self.config.name, epoch=epoch, step=done)
        if self._ends_epoch(done) and self.record.is_main:
            self._tell_health(epoch)
        return reading

    def _tell_health(self, epoch: int) -> None:
        """One line of what is new to be said, if anything is."""
        config, sites = self.config, len(self.job.study.sites)
        found = findings(self.record.lines(), stage=config.name, sites=sites, watch=config.watch)
        if new := [said for kind, said in found.items() if kind not in self.remarked]:
            self.record.say(f"{config.name}, epoch {epoch + 1}: {'; '.join(new)}")
        self.remarked = set(found)

    def _look_back(self, epoch: int, figures: Mapping[str, float]) -> None:
        """At an epoch's end: has it become better, and are these the weights to keep?"""
        patience, kept = self.position.patience, self.position.kept
        if self.config.patience is not None:
            patience = patience.after(error_of(figures, self.config))
        if kept is not None:
            kept = self.chooser.after(kept, epoch, figures, weights(self.job))
        self.position = replace(self.position, patience=patience, kept=kept)

    def _is_over(self) -> bool:
        """Whether the stage has run out of patience."""
        patience = self.config.patience
        if patience is None or self.position.patience.stale < patience or not self._ends_epoch(self.position.step):
            return False
        self.record.say(
            f"stage {self.config.name!r} ends early: {self.config.watch} did not fall for {patience} epochs"
        )
        return True


def refuse_ranks_apart(runtime: Runtime, network: Network, step: int) -> None:
    """Stop every rank unless all hold the same parameters, bit for bit; one message of a few numbers.

    Raises:
        RankError: naming the part. A gradient was not reduced, or a rank computed something else.
    """
    same = runtime.same(parameter_sums(network.parts.values()))
    apart = [part for part, equal in zip(network.parts, same.tolist(), strict=True) if not equal]
    if apart:
        raise RankError(
            f"after step {step} the ranks hold different weights of {', '.join(apart)}: a gradient was not reduced or a "
            "processor is faulty; nothing of this was saved; please report it if it happens again",
            rank=None, site=None,
        )  # fmt: skip


def _shown(figures: Mapping[str, float]) -> dict[str, float]:
    names = {"val/mae": "mae", "val/domain_head": "domain_head", "time/scans_per_second": "scans/s"}
    losses = {name.removeprefix("train/"): value for name, value in figures.items() if name.startswith("train/")}
    return losses | {short: figures[name] for name, short in names.items() if name in figures}
