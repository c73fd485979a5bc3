"""When a run is saved, and what a disk that is full for a while costs: nothing."""

import shutil
import time
from collections.abc import Mapping

from safetensors import SafetensorError

from distunlearn.engine.checkpoint import Snapshot, save
from distunlearn.engine.job import Job
from distunlearn.engine.record import Record
from distunlearn.engine.resume import Position, snapshot
from distunlearn.engine.update import Update
from distunlearn.errors import UserError
from distunlearn.run_folder import CHECKPOINTS

FAILED_SAVES = 3
"""Saves in a row that may fail before training stops."""


class Saver:
    """Writes the checkpoints of a run in progress."""

    def __init__(self, job: Job, record: Record) -> None:
        self.job, self.record = job, record
        self.folder = record.run / CHECKPOINTS
        self._saved = time.monotonic()
        self._failed = 0

    def is_due(self) -> bool:
        """Whether the last save is long enough ago."""
        return time.monotonic() - self._saved > 60 * self.job.config.engine.checkpoint_minutes

    def save(self, updates: Mapping[str, Update], position: Position, *, must: bool) -> None:
        """Save everything; a few failures in a row are borne unless it `must` be now.

        Raises:
            UserError: naming the folder, what is needed and what is free.
        """
        taken = snapshot(self.job, self.record, updates, position)  # every rank: random states are gathered
        if self.record.is_main:
            try:
                save(self.folder, taken, position.step)
                self._failed = 0
            except (OSError, SafetensorError) as error:
                self._bear(error, taken, must=must)
        self.job.runtime.wait()
        self._saved = time.monotonic()

    def _bear(self, error: Exception, taken: Snapshot, *, must: bool) -> None:
        self._failed += 1
        needed = sum(value.nbytes for value in taken.tensors.values()) / 2**20
        free = shutil.disk_usage(self.record.run).free / 2**20
        line = (
            f"{self.folder}: a checkpoint cannot be written ({getattr(error, 'strerror', None) or error}): "
            f"{needed:.0f} MB needed, {free:.0f} MB free; earlier checkpoints are as they were"
        )
        if must or self._failed >= FAILED_SAVES:
            raise UserError(line) from error
        self.record.say(line)
