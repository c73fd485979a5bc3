"""One phase's update: its backward pass, the size of the reduced gradient, the optimiser's step, and how long it took."""

from jaxtyping import Float
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from distunlearn.engine.clock import Clock
from distunlearn.errors import UserError


class Update:
    """The optimiser of one phase and what stands between its loss and its step.

    Args:
        optimiser: over the parameters of the parts that the phase updates.
        world_size: DDP takes the mean over ranks; losses are shares of a sum.
        scaler: for half precision (float16) only; each loss has its own, because they differ in size.
    """

    def __init__(self, optimiser: Optimizer, world_size: int, scaler: GradScaler | None = None) -> None:
        self.optimiser, self.scaler = optimiser, scaler
        self._world_size = world_size
        self.parameters: list[Tensor] = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        self.clock = Clock(self.parameters[0].device)
        """Runs from `clear` to `step`: encoding, forward, backward and what of the reduction they do not hide."""

    def clear(self) -> None:
        """Begin: forget the last gradient."""
        self.clock.start()
        self.optimiser.zero_grad()

    def backward(self, share: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Add to the gradient; returns this rank's share of the loss as a number.

        Raises:
            UserError: the run is to be deterministic, and something in the network is not on this device.
        """
        loss = share * self._world_size
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if "deterministic implementation" not in str(error):
                raise
            raise UserError(f"engine.deterministic: {str(error).split(',', maxsplit=1)[0]}; set it to false") from error
        return share.detach()

    def step(self) -> Float[Tensor, ""]:
        """End with the optimiser's step; returns the norm of the gradient that all ranks share.

        Nothing is asked of the device here: a norm that is not finite is met when the figures are read, before
        anything is saved. With a scaler, a step whose gradient overflowed is left out on all ranks alike (the gradient
        is reduced by then) and its norm counts as zero.
        """
        if self.scaler is not None:
            self.scaler.unscale_(self.optimiser)
        norm = get_total_norm([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        if self.scaler is None:
            self.optimiser.step()
        else:
            self.scaler.step(self.optimiser)
            self.scaler.update()
            norm = norm.nan_to_num(0.0, 0.0, 0.0)
        self.clock.stop()
        return norm
