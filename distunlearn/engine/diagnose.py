"""What must not be saved: figures that are not numbers, and why they are not; ranks whose weights differ."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distunlearn.engine.job import Job
from distunlearn.engine.network import Network
from distunlearn.engine.reduction import parameter_sums
from distunlearn.engine.runtime import Runtime
from distunlearn.errors import UserError


class RankError(UserError):
    """What went wrong on one rank, as all ranks have learned it."""

    def __init__(self, text: str, *, rank: int | None, site: str | None) -> None:
        super().__init__(text)
        self.rank, self.site = rank, site


def not_finite(job: Job, figures: Mapping[str, float], steps: Sequence[int]) -> RankError:
    """The error to raise on every rank after a reading that holds NaN or infinity; to be called by every rank.

    The plan says which scans the steps were made of, so that each rank looks at its own again: nothing had to be
    noted while training. A scan's key is a pseudonym; its site is named because somebody has to mend it.

    Args:
        job: the run.
        figures: the reading.
        steps: that it covers.
    """
    found = [text for text in job.runtime.gather_texts(_bad_scan(job, steps)) if text]
    names = sorted({name.split("/")[1] for name, value in figures.items() if not math.isfinite(value)})
    where = f"steps {steps[0] + 1} to {steps[-1] + 1}"
    if found:
        rank, site, scan = found[0].split("\t")
        return RankError(
            f"site {site}: {scan} is not finite, so that neither is the loss ({', '.join(names)}, {where}, rank {rank}); "
            "mend the scan and shard its site again; nothing of this was saved",
            rank=int(rank), site=site,
        )  # fmt: skip
    return RankError(
        f"the loss or its gradient is not finite ({', '.join(names)}, {where}), though all scans are: the training "
        "diverged; lower the learning rate or set engine.precision=fp32; nothing of this was saved",
        rank=None, site=None,
    )  # fmt: skip


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


def _bad_scan(job: Job, steps: Sequence[int]) -> str:
    """Rank, site and scan of the first value on this rank that is not finite, or nothing."""
    for step, batches in enumerate(job.steps(steps[0], steps[-1] + 1), steps[0]):
        for role, batch in ((role, own.batch) for role, own in batches.items()):
            what, bad = "voxel", _not_finite(batch.volume)
            if not bad and role == "main":  # NaN is a target that a scan lacks
                targets = batch.target[:, : len(job.network.task.targets)]
                what, bad = "target", torch.nonzero(targets.isinf().any(dim=1)).flatten().tolist()
            if bad:
                scan = job.study.table.iloc[int(batch.scan[bad[0]])]
                return f"{job.runtime.rank}\t{scan['site']}\ta {what} of scan {scan['key']} (step {step + 1})"
    return ""


def _not_finite(values: Tensor) -> list[int]:
    return [number for number, of_scan in enumerate(values) if not of_scan.isfinite().all()]
