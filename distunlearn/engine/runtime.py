"""The only file that knows Accelerate: which rank this is, which device, and what crosses ranks."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import xxhash
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from jaxtyping import Bool, Int, Shaped
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from distunlearn.config import EngineConfig
from distunlearn.engine.gather import rows_of_ranks
from distunlearn.engine.memory import keep_memory
from distunlearn.engine.reduction import Traffic, reduce_by
from distunlearn.errors import UserError


class Runtime:
    """One process of a run: its rank, its device, and the messages between ranks.

    Args:
        config: of the engine.
        traffic: where to note what every backward pass sends.
    """

    def __init__(self, config: EngineConfig, traffic: Traffic | None = None) -> None:
        refuse_lonely_launch(os.environ)
        self.config, self._traffic = config, traffic
        if config.deterministic:
            be_deterministic()
        else:
            torch.backends.cudnn.benchmark = True  # batches have one size: the fastest kernels are found once
        self.store = join(timedelta(minutes=config.timeout_minutes))
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision="no",  # the step casts by itself (`precision`): one way for every device and for frozen parts
            kwargs_handlers=[
                DistributedDataParallelKwargs(bucket_cap_mb=config.bucket_mb, gradient_as_bucket_view=True)
            ],
        )
        self.rank: int = self.accelerator.process_index
        self.world_size: int = self.accelerator.num_processes
        self.device: torch.device = self.accelerator.device
        if self.device.type == "cpu":
            keep_memory()
        asked = int(os.environ.get("WORLD_SIZE", "1"))
        if self.world_size != asked:
            raise UserError(f"the launcher started {asked} processes but this one sees {self.world_size}; {_REMEDY}")

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only one that writes and speaks."""
        return self.rank == 0

    @property
    def precision(self) -> torch.dtype | None:
        """What parts compute in, where that is not float32."""
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.config.precision]

    def scaler(self) -> torch.amp.GradScaler | None:
        """A new scaler for one loss, where gradients of float16 would vanish without."""
        if self.config.precision != "fp16":
            return None
        return torch.amp.GradScaler(self.device.type, init_scale=1024.0)  # losses are means: torch's 65536 overflows

    def wrap(self, part: nn.Module) -> nn.Module:
        """Put a part on the device and, with several ranks, into its own DDP, so that its gradients travel alone."""
        if self.config.channels_last:
            part = part.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if self.config.average_every > 1:  # local steps: nothing is reduced in between
            return part.to(self.device)
        wrapped: nn.Module = self.accelerator.prepare(part)
        if isinstance(wrapped, DistributedDataParallel):
            # Set afterwards: as an argument it would also skip the first synchronisation of the buffers.
            wrapped.forward_sync_buffers = False
            reduce_by(wrapped, self.config.compression, self._traffic)
        return wrapped

    def sum(self, values: Tensor) -> Tensor:
        """Add up a tensor over ranks, in place; every rank gets the sum."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def gather_rows(self, rows: Shaped[Tensor, "n K"]) -> Shaped[Tensor, "m K"]:
        """All ranks' rows under each other, rank 0's first; ranks may hold different numbers of rows."""
        return rows if self.world_size == 1 else torch.cat(rows_of_ranks(rows))

    def gather_texts(self, text: str) -> list[str]:
        """Every rank's text, rank 0's first."""
        rows = torch.tensor([[self.rank, code] for code in text.encode()], dtype=torch.int64, device=self.device)
        ranks, codes = self.gather_rows(rows.view(-1, 2)).cpu().unbind(1)
        return [bytes(codes[ranks == rank].tolist()).decode() for rank in range(self.world_size)]

    def from_main(self, content: bytes) -> bytes:
        """What rank 0 says; what other ranks say is not heard."""
        if self.world_size == 1:
            return content
        size = torch.tensor([len(content)], device=self.device)
        dist.broadcast(size, 0)
        said = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.is_main and content:
            said.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(said, 0)
        return said.cpu().numpy().tobytes()

    def agree(self, text: str, what: str) -> None:
        """Stop every rank unless all hold the same text, such as the plan's digest.

        Raises:
            UserError: on every rank, when any differs.
        """
        code = int(xxhash.xxh3_64_hexdigest(text.encode())[:15], 16)
        if not self.same(torch.tensor([code], device=self.device)).all():
            raise UserError(f"the ranks do not agree on {what}; do they all see the same shards and configuration?")

    def same(self, values: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Which of these whole numbers are the same on all ranks; every rank gets the same answer."""
        extremes = torch.cat([values, -values])
        if self.world_size > 1:
            dist.all_reduce(extremes, dist.ReduceOp.MAX)
        highest, lowest = extremes.chunk(2)
        return highest == -lowest

    def wait(self) -> None:
        """Wait until every rank is here."""
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()


def join(timeout: timedelta) -> Store | None:
    """Form the process group, where a launcher started several processes; returns the store through which they met.

    A launcher that starts the processes again keeps its store, and they would meet under the addresses of the dead
    (pytorch #135712): every attempt gets a namespace of its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return None
    shared, rank, world_size = next(rendezvous("env://", timeout=timeout))
    store = PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", shared)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    return store


def be_deterministic() -> None:
    """Make every operation give the same bits twice, or raise."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


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
