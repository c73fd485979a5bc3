"""Mean and standard deviation of scans that no process may see whole: each adds up its own, and only sums and counts cross ranks."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Sum = Callable[[Tensor], Tensor]
"""Adds a tensor up over the ranks that hold different scans."""


def alone(values: Tensor) -> Tensor:
    """The sum where this process sees all scans."""
    return values


def moments(values: Float[Tensor, "n K"], add_up: Sum = alone) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Mean and sample standard deviation of each column over all ranks' rows, in float64; NaN is left out.

    Args:
        values: of this rank's scans; there may be none.
        add_up: the sum over ranks.

    Example:
        >>> import torch
        >>> mean, sd = moments(torch.tensor([[1.0], [3.0], [torch.nan]]))
        >>> mean.item(), round(sd.item(), 3)
        (2.0, 1.414)
    """
    wide = values.double()
    count = add_up((~wide.isnan()).sum(dim=0).double())
    mean = add_up(wide.nansum(dim=0)) / count
    squares = add_up((wide - mean).square().nansum(dim=0))
    return mean, (squares / (count - 1).clamp_min(1)).sqrt()
