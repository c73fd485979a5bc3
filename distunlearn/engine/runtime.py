"""The only file that knows Accelerate: which rank this is, which device, and what crosses ranks."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from jaxtyping import Shaped
from torch import Tensor, nn

from distunlearn.config import EngineConfig
from distunlearn.errors import UserError


class Runtime:
    """One process of a run: its rank, its device, and the messages between ranks."""

    def __init__(self, config: EngineConfig) -> None:
        refuse_lonely_launch(os.environ)
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision=config.precision,
            kwargs_handlers=[
                InitProcessGroupKwargs(timeout=timedelta(minutes=config.timeout_minutes)),
                DistributedDataParallelKwargs(bucket_cap_mb=config.bucket_mb, gradient_as_bucket_view=True),
            ],
        )
        self.rank: int = self.accelerator.process_index
        self.world_size: int = self.accelerator.num_processes
        self.device: torch.device = self.accelerator.device
        asked = int(os.environ.get("WORLD_SIZE", "1"))
        if self.world_size != asked:
            raise UserError(f"the launcher started {asked} processes but this one sees {self.world_size}; {_REMEDY}")

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only one that writes and speaks."""
        return self.rank == 0

    def wrap(self, part: nn.Module) -> nn.Module:
        """Put a part on the device and, with several ranks, into its own DDP, so that its gradients travel alone."""
        wrapped: nn.Module = self.accelerator.prepare(part)
        if self.world_size > 1:
            # Set afterwards: as an argument it would also skip the first synchronisation of the buffers.
            wrapped.forward_sync_buffers = False  # type: ignore[assignment]
        return wrapped

    def sum(self, values: Tensor) -> Tensor:
        """Add up a tensor over ranks, in place; every rank gets the sum."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def gather_rows(self, rows: Shaped[Tensor, "n K"]) -> Shaped[Tensor, "m K"]:
        """All ranks' rows under each other, rank 0's first; ranks may hold different numbers of rows."""
        if self.world_size == 1:
            return rows
        counts = torch.zeros(self.world_size, dtype=torch.int64, device=rows.device)
        counts[self.rank] = len(rows)
        self.sum(counts)
        padded = rows.new_zeros(int(counts.max()), rows.shape[1])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])

    def agree(self, text: str, what: str) -> None:
        """Stop every rank unless all hold the same text, such as the plan's digest.

        Raises:
            UserError: on every rank, when any differs.
        """
        code = torch.tensor(list(text.encode()), dtype=torch.int64, device=self.device)
        extremes = torch.cat([code, -code])
        if self.world_size > 1:
            dist.all_reduce(extremes, dist.ReduceOp.MAX)
        highest, lowest = extremes.chunk(2)
        if not torch.equal(highest, -lowest):
            raise UserError(f"the ranks do not agree on {what}; do they all see the same shards and configuration?")

    def wait(self) -> None:
        """Wait until every rank is here."""
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()


_REMEDY = (
    "start it as `accelerate launch --multi_gpu --num_processes N distunlearn train …` (also on CPUs), "
    "`distunlearn launch --nproc N train …` or `torchrun --nproc-per-node N -m distunlearn train …`"
)


def refuse_lonely_launch(environment: Mapping[str, Any]) -> None:
    """Refuse a launcher that was asked for several processes and silently started single ones.

    `accelerate launch --cpu --num_processes 2` starts one process and says nothing (accelerate #2741); it does leave
    MASTER_PORT behind without RANK. `srun -n 2` without rank variables starts two runs that know nothing of each other.

    Raises:
        UserError: with the remedy.
    """
    if "RANK" in environment:
        return
    if "MASTER_PORT" in environment and "ACCELERATE_MIXED_PRECISION" in environment:
        raise UserError(f"accelerate was asked for several processes but started only this one; {_REMEDY}")
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        raise UserError(
            f"srun started several tasks without RANK and WORLD_SIZE, each would be a run of its own; {_REMEDY}"
        )
