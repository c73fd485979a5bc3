"""Local steps: for links so slow that gradients cannot cross at every step, weights are averaged now and then instead."""

from collections.abc import Iterable, Mapping

from torch import Tensor
from torch.distributed import group
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.algorithms.model_averaging.utils import average_parameters
from torch.nn import Parameter

from distunlearn.engine.update import Update


class Averaging:
    """Averages the weights of all ranks every `period` steps, and weights and moments when a line of metrics is due.

    Between averages every rank follows its own share of the losses, so this is another algorithm than the exact one:
    a rank with one site trains its domain head on one class. Its cost in error is in docs/engine.md.
    """

    def __init__(self, parameters: Iterable[Parameter], updates: Mapping[str, Update], period: int) -> None:
        self._parameters, self._updates, self._period = list(parameters), updates, period
        self._averager = PeriodicModelAverager(period)

    def after(self, step: int, *, now: bool) -> None:
        """Average if it is the turn of a step that is done, or `now`, after which all ranks hold the same."""
        self._averager.step = 0 if now else step % self._period
        self._averager.average_parameters(self._parameters)
        if now and (moments := self._moments()):
            average_parameters(iter(moments), group.WORLD)  # type: ignore[arg-type]  # any tensor will do

    def _moments(self) -> list[Tensor]:
        """What Adam and the like remember; averaged too, so that one rank's checkpoint stands for all.

        In the order of the parameters: the optimiser's own is that in which a checkpoint was read, which differs
        between ranks.
        """
        states = [
            update.optimiser.state[parameter]
            for update in self._updates.values()
            for parameter in update.parameters
            if parameter in update.optimiser.state
        ]
        values = [state[key] for state in states for key in sorted(state) if key != "step"]
        return [value for value in values if isinstance(value, Tensor)]
