"""Predict numbers, such as age in years.

Dimensions: `B` subjects, `T` targets.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from distunlearn.objectives import squared_error
from distunlearn.strict import Strict


class RegressionConfig(Strict):
    """Which labels are predicted, and with which loss."""

    name: Literal["regression"] = "regression"
    targets: tuple[str, ...] = ("age",)
    """Label columns of the shards; a scan without one of them takes no part in the task (it may in unlearning)."""


class Regression:
    """The task of the paper. Targets are standardised by the training scans; predictions are in the target's unit."""

    def __init__(self, config: RegressionConfig, mean: Float[Tensor, " T"], sd: Float[Tensor, " T"]) -> None:
        self.targets = config.targets
        self.outputs = len(config.targets)
        self.mean, self.sd = mean, sd

    def loss(self, output: Float[Tensor, "B T"], target: Float[Tensor, "B T"]) -> Float[Tensor, " B"]:
        """$L_n$ of eq. (1), one value a subject: squared error in standardised units."""
        return squared_error(output, (target - self.mean.to(target)) / self.sd.to(target))

    def predict(self, output: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """The head's output in the unit of the target."""
        return output * self.sd.to(output) + self.mean.to(output)

    def error(self, prediction: Float[Tensor, "B T"], target: Float[Tensor, "B T"]) -> Float[Tensor, " B"]:
        """What is reported of each subject: the absolute error in the unit of the target, mean over targets."""
        return (prediction - target).abs().mean(dim=1)

    def state(self) -> dict[str, list[float]]:
        """What must be stored with the weights so that predictions come in the right unit."""
        return {"mean": self.mean.tolist(), "sd": self.sd.tolist()}

    @classmethod
    def fit(cls, config: RegressionConfig, target: Float[Tensor, "B T"]) -> "Regression":
        """The task with its standardisation fitted on the training targets."""
        return cls(config, target.mean(dim=0), target.std(dim=0).clamp_min(1e-6))

    @classmethod
    def restore(cls, config: RegressionConfig, state: dict[str, list[float]]) -> "Regression":
        """The task as it was stored by `state`."""
        return cls(config, torch.tensor(state["mean"]), torch.tensor(state["sd"]))
