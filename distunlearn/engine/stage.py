"""One stage of a training: its steps, its lines of metrics, its epochs; it goes on where a killed run stopped."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch.nn import Parameter

from distunlearn.engine.checkpoint import Snapshot
from distunlearn.engine.choosing import Chooser, error_of, in_words
from distunlearn.engine.diagnose import not_finite, refuse_ranks_apart
from distunlearn.engine.erase import fit_erasure
from distunlearn.engine.job import Job
from distunlearn.engine.local import Averaging
from distunlearn.engine.meter import Meter, Reading
from distunlearn.engine.outcome import finish_stage, validate
from distunlearn.engine.reset import reset_heads
from distunlearn.engine.resume import Position, put_weights, restore, weights
from distunlearn.engine.saver import Saver
from distunlearn.engine.share import StepBatch
from distunlearn.engine.step import take_step
from distunlearn.engine.stop import Wish
from distunlearn.engine.updates import build_updates, set_rates
from distunlearn.methods import ErasureConfig, phases_of
from distunlearn.probing.health import findings
from distunlearn.progress import progress


class Stage:
    """One stage of a run in progress.

    Args:
        job: the run.
        saver: writes its checkpoints.
        wish: whether this process was told to stop.
        index: of the stage in the run.
        steps: of the stage, counted over all stages.
    """

    def __init__(self, job: Job, saver: Saver, wish: Wish, index: int, steps: range) -> None:
        self.job, self.record, self.saver, self.wish = job, saver.record, saver, wish
        self.index, self.config, self.steps = index, job.config.stages[index], steps
        self.phases = phases_of(self.config.method)
        self.per_epoch = job.plans["main"].steps_per_epoch
        self.updates = build_updates(self.config, job.network, job.runtime)
        self.meter = Meter(job.runtime, self.updates)
        period = job.config.engine.average_every
        local = period > 1 and job.runtime.world_size > 1
        self.averaging = Averaging(self._parameters(), self.updates, period) if local else None
        self.position = Position(index, steps.start)
        self.chooser = Chooser(job, self.config)
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
        self.saver.save({}, Position(self.index + 1, self.steps.stop), must=True)
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
                    self.saver.save(self.updates, self.position, must=reading.stop)
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
        reading = self.meter.read(save=self.saver.is_due(), stop=self.wish.stop)
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


def _shown(figures: Mapping[str, float]) -> dict[str, float]:
    names = {"val/mae": "mae", "val/domain_head": "domain_head", "time/scans_per_second": "scans/s"}
    losses = {name.removeprefix("train/"): value for name, value in figures.items() if name.startswith("train/")}
    return losses | {short: figures[name] for name, short in names.items() if name in figures}
