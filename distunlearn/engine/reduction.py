"""How gradients travel: the hook that reduces each bucket of a part's DDP, and a record of what was sent."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

Compression = Literal["none", "bf16", "powersgd"]
EXACT_PASSES = 10
"""Backward passes of a part, the two before the first step among them, before PowerSGD begins to approximate."""
Reduce = Callable[[GradBucket], Future[Tensor]]
"""Starts to bring the mean over ranks of a bucket's gradients."""


@dataclass
class Traffic:
    """What the backward passes sent since `take`: one entry a bucket, in the order in which they were ready."""

    buckets: list[int] = field(default_factory=list)
    """Bytes of gradients a bucket, before any compression."""

    def take(self) -> list[int]:
        """The entries, which are then forgotten."""
        taken, self.buckets = self.buckets, []
        return taken


def reduce_by(part: DistributedDataParallel, compression: Compression, traffic: Traffic | None) -> None:
    """Let a part's gradients travel compressed, or be counted, or both; otherwise DDP's own way is the fastest."""
    if compression == "none" and traffic is None:
        return
    reduce = REDUCTIONS[compression]()

    def hook(traffic: Traffic | None, bucket: GradBucket) -> Future[Tensor]:
        if traffic is not None:
            traffic.buckets.append(bucket.buffer().nbytes)
        return reduce(bucket)

    part.register_comm_hook(traffic, hook)


def _plain() -> Reduce:
    return lambda bucket: allreduce_hook(None, bucket)  # type: ignore[arg-type]  # None is all ranks


def _bf16() -> Reduce:
    """Half the bytes: torch's own hook of this name wants NCCL, though gloo can add bfloat16 as well."""

    def reduce(bucket: GradBucket) -> Future[Tensor]:
        values = bucket.buffer()
        short = values.to(torch.bfloat16).div_(dist.get_world_size())
        sent = dist.all_reduce(short, async_op=True).get_future()
        reduced: Future[Tensor] = sent.then(lambda done: values.copy_(done.value()[0]))
        return reduced

    return reduce


def _powersgd() -> Reduce:
    """Low-rank approximations with error feedback, after some backward passes that are exact.

    Torch's hook sends three messages a bucket, the later ones when the earlier are back. With two buckets under way
    ranks would send them in different orders, and one rank would take the messages of one bucket for the other's: each
    bucket is waited for.
    """
    state = powerSGD_hook.PowerSGDState(
        process_group=None, matrix_approximation_rank=2, start_powerSGD_iter=EXACT_PASSES
    )

    def reduce(bucket: GradBucket) -> Future[Tensor]:
        reduced: Future[Tensor] = powerSGD_hook.powerSGD_hook(state, bucket)
        reduced.wait()
        return reduced

    return reduce


REDUCTIONS: dict[str, Callable[[], Reduce]] = {"none": _plain, "bf16": _bf16, "powersgd": _powersgd}


def prime(parts: Mapping[str, nn.Module], shape: Iterable[int]) -> None:
    """Let every DDP see two backward passes, on no scans, before the first step.

    DDP arranges its buckets anew after its first pass. With three ranks or more that changes the order in which
    gradients are added up, so that a resumed run would differ in the last bit from one that was never stopped.

    Args:
        parts: `encoder`, and heads on its features.
        shape: of a scan.
    """
    if not isinstance(parts["encoder"], DistributedDataParallel):
        return
    first = next(parts["encoder"].parameters())
    nothing = torch.zeros(0, *shape, device=first.device, dtype=first.dtype)
    for part in parts.values():
        part.eval()  # so that no statistics are taken of nothing
    for _ in range(2):
        features = parts["encoder"](nothing)
        features.sum().backward()
        for name, part in parts.items():
            if name != "encoder":
                part(features.detach()).sum().backward()
    for part in parts.values():
        part.zero_grad()
        part.train()


def parameter_sums(parts: Iterable[nn.Module]) -> Tensor:
    """One whole number a part that changes with any bit of its parameters, to compare ranks by."""
    return torch.stack([
        torch.stack([_sum_of_bits(parameter.detach()) for parameter in part.parameters()]).sum() for part in parts
    ])


def _sum_of_bits(values: Tensor) -> Tensor:
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    return values.view(whole).sum(dtype=torch.int64)
