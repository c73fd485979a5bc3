"""A rehearsal (`--dry-run`): builds the whole run, takes two steps of every stage, says what it needs, writes nothing."""

import math
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from distunlearn.config import RunConfig
from distunlearn.engine.clock import Clock
from distunlearn.engine.job import Job
from distunlearn.engine.outcome import about_scans
from distunlearn.engine.reduction import Traffic
from distunlearn.engine.resume import refuse_other_run
from distunlearn.engine.step import take_step
from distunlearn.engine.train import joined
from distunlearn.engine.updates import build_updates
from distunlearn.methods import phases_of


@dataclass(frozen=True)
class Rehearsed:
    """What two steps of a stage have shown."""

    stage: str
    steps: int
    """Of the whole stage."""
    seconds: float
    """That the second step took on the slowest rank."""
    sent: dict[str, list[int]]
    """Bytes of every message of gradients that this rank sends in a step, by phase."""


def rehearse(config: RunConfig, run: Path) -> list[str]:
    """Build a run, take two steps of each of its stages, and forget all of it; nothing is written.

    Returns:
        What the run needs, in lines for people; none on ranks other than the first.

    Raises:
        UserError: whatever `train` would refuse before its first steps.
    """
    traffic = Traffic()
    with joined(config, traffic) as (job, _):
        if job.runtime.is_main:
            refuse_other_run(run, config)
        traffic.take()
        stages = [_rehearse_stage(job, index, traffic) for index in range(len(config.stages))]
        peak = _greatest(job, _peak_memory(job.runtime.device))
        if not job.runtime.is_main:
            return []
        return [
            *_about(job),
            f"memory: {_size(peak)} a process at most",
            *map(_about_stage, stages),
            *_about_time(stages),
        ]


def _rehearse_stage(job: Job, index: int, traffic: Traffic) -> Rehearsed:
    """The first step phase by phase, to see what each sends, and the second as in training, to see how long it takes."""
    stage, runtime, pieces = job.config.stages[index], job.runtime, job.config.engine.pieces
    phases, updates = phases_of(stage.method), build_updates(stage, job.network, runtime)
    first, second = job.steps(0, 2)
    sent = {}
    for phase in phases:
        take_step(job.network, [phase], first, updates, pieces=pieces)
        sent[phase.name] = traffic.take()
    clock = Clock(runtime.device)
    clock.start()
    take_step(job.network, phases, second, updates, pieces=pieces)
    clock.stop()
    traffic.take()
    steps = stage.epochs * job.plans["main"].steps_per_epoch
    return Rehearsed(stage.name, steps, _greatest(job, clock.read()), sent)


def _peak_memory(device: torch.device) -> float:
    """Bytes, of the device where it has a memory of its own."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _greatest(job: Job, value: float) -> float:
    rows = torch.tensor([[value]], dtype=torch.float64, device=job.runtime.device)
    return job.runtime.gather_rows(rows).max().item()


def _about(job: Job) -> Iterable[str]:
    world_size, data, plan = job.runtime.world_size, job.config.data, job.plans["main"]
    yield (
        f"{world_size} process{'es' if world_size > 1 else ''} on {job.runtime.device.type}; batches of {data.batch} scans "
        f"of {'×'.join(map(str, job.study.shape))}, {plan.steps_per_epoch} steps an epoch"
    )
    yield from about_scans(job)
    for name, part in job.model().parts.items():
        parameters = list(part.parameters())
        count, size = sum(value.numel() for value in parameters), sum(value.nbytes for value in parameters)
        yield f"parameters, {name}: {count:,} ({_size(size)})"
    engine = job.config.engine
    if engine.average_every > 1 < world_size:
        yield f"no gradients are sent: all weights are averaged every {engine.average_every} steps"
    if engine.compression != "none":
        yield f"bytes of gradients are those before compression by {engine.compression}"


def _about_stage(stage: Rehearsed) -> str:
    phases = [
        f"{phase} {_size(sum(messages))} in {len(messages)} message{'s' if len(messages) > 1 else ''}"
        for phase, messages in stage.sent.items()
        if messages
    ]
    return (
        f"stage {stage.stage}: {stage.steps} steps of {stage.seconds:.3g} s; "
        f"a step sends {', '.join(phases) or 'no gradients'}"
    )


def _about_time(stages: Iterable[Rehearsed]) -> Iterable[str]:
    seconds = sum(stage.steps * stage.seconds for stage in stages)
    hours, minutes = divmod(round(seconds / 60), 60)
    readable = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"
    yield f"time: about {readable} of steps, as fast as the second of each stage; validation, probes and the report come on top"


def _size(nbytes: float) -> str:
    power = min(int(math.log10(max(nbytes, 1)) // 3), 3)
    return f"{nbytes / 1000**power:.4g} {('B', 'kB', 'MB', 'GB')[power]}"
