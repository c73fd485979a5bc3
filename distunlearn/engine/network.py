"""The parts that are trained, and how a phase calls each: moving or frozen.

Dimensions: `B` subjects of this rank's share of the batch, `R` columns of an encoder's row, `L` of its layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from distunlearn.batch import Batch
from distunlearn.methods import Confound, Part
from distunlearn.models import Tapped
from distunlearn.tasks import Task


@dataclass(frozen=True)
class Network:
    """θ_repr, θ_p and the θ_d of every confound, each in its own DDP when there are several ranks."""

    parts: Mapping[Part, nn.Module]
    task: Task
    confounds: Mapping[str, Confound] = field(default_factory=dict)
    """By name; the site if not given."""
    labels: tuple[str, ...] = ()
    """Names of the columns of `Batch.target`: the task's targets first. Those alone if not given."""
    precision: torch.dtype | None = None
    """Half precision in which parts compute where that is safe (autocast); what they return is float32."""

    def label(self, batch: Batch, name: str) -> Float[Tensor, " B"]:
        """One label of a batch's scans."""
        return batch.target[:, (self.labels or self.task.targets).index(name)]

    def call(self, part: Part, values: Tensor, *, moves: bool) -> Tensor:
        """Run a part on values; frozen unless it `moves`: gradients go through it, not into it, and no buffer changes."""
        module = self.parts[part]
        with torch.autocast(values.device.type, self.precision, enabled=self.precision is not None):
            output: Tensor = module(values) if moves else _frozen(unwrapped(module), values)
        return output if self.precision is None else output.float()

    def shown(self, row: Float[Tensor, "B R"]) -> Float[Tensor, "B L"]:
        """What domain heads see of an encoder's row: the feature layer and the inner layers, no map of every voxel."""
        encoder = unwrapped(self.parts["encoder"])
        assert isinstance(encoder, Tapped)
        return row[:, : sum(encoder.widths)]

    @contextmanager
    def reducing(self, parts: Sequence[Part], *, now: bool) -> Iterator[None]:
        """Gradients of these parts are all-reduced in backward passes of this block only if `now`."""
        with ExitStack() as held:
            for part in parts:
                module = self.parts[part]
                if not now and isinstance(module, DistributedDataParallel):
                    held.enter_context(module.no_sync())
            yield


def _frozen(module: nn.Module, values: Tensor) -> Tensor:
    detached = {name: parameter.detach() for name, parameter in module.named_parameters()}
    running = {name: buffer.clone() for name, buffer in module.named_buffers()}
    output: Tensor = functional_call(module, detached | running, (values,))
    return output


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside its DDP, or itself."""
    inner = getattr(module, "module", module)
    assert isinstance(inner, nn.Module)
    return inner
