"""Predict numbers, such as age in years.

Dimensions: `B` subjects, `T` targets, `R` columns of a row.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from distunlearn.batch import Batch
from distunlearn.moments import Sum, alone, moments
from distunlearn.objectives import mean_over_labelled
from distunlearn.strict import Strict


class RegressionConfig(Strict):
    """Which labels are predicted, and with which loss."""

    name: Literal["regression"] = "regression"
    targets: tuple[str, ...] = Field(("age",), min_length=1)
    """Label columns of the shards. A scan without any of them takes no part in the task (it may in unlearning); one
    that lacks some of several is learned from by those it has."""
    loss: Literal["squared", "absolute", "huber"] = "squared"
    """Of standardised targets: squared error (the paper's), absolute error, or Huber's: squared up to `delta`, then
    linear."""
    delta: float = Field(1.0, gt=0)
    """Huber: where it turns linear, in standard deviations of the target."""


class Regression:
    """The task of the paper. Targets are standardised by the training scans; predictions are in the target's unit."""

    dense = False

    def __init__(self, config: RegressionConfig, mean: Float[Tensor, " T"], sd: Float[Tensor, " T"]) -> None:
        self.config = config
        self.targets = self.predicted = config.targets
        several = len(config.targets) > 1
        self.figure_names = tuple(f"mae_{name}" for name in config.targets) if several else ("mae",)
        further = [f"{what}_{name}" for name in config.targets[1:] for what in ("target", "prediction")]
        self.columns = ("target", "prediction", *further)
        self.outputs = len(config.targets)
        self.mean, self.sd = mean, sd

    def truth(self, batch: Batch) -> Float[Tensor, "B T"]:
        """The targets, in their units."""
        return batch.target[:, : self.outputs]

    def loss(self, output: Float[Tensor, "B T"], truth: Float[Tensor, "B T"]) -> Float[Tensor, " B"]:
        """$L_n$ of eq. (1), one value a subject: mean over its known targets, in standardised units."""
        mean, sd = (
            value.to(truth, non_blocking=True) for value in (self.mean, self.sd)
        )  # a step never waits for the device
        known = torch.where(truth.isnan(), output.detach(), (truth - mean) / sd)
        return mean_over_labelled(self._each(output, known), truth)

    def _each(self, output: Float[Tensor, "B T"], target: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        if self.config.loss == "huber":
            return F.huber_loss(output, target, reduction="none", delta=self.config.delta)
        return (output - target).abs() if self.config.loss == "absolute" else (output - target).square()

    def predict(self, output: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """The head's output in the unit of the target."""
        return output * self.sd.to(output) + self.mean.to(output)

    def figures(self, output: Float[Tensor, "B T"], truth: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """The absolute error of each target, in its unit."""
        return (self.predict(output) - truth).abs()

    def rows(self, output: Float[Tensor, "B T"], truth: Float[Tensor, "B T"]) -> Float[Tensor, "B R"]:
        """Each target and what was predicted."""
        return torch.stack([truth, self.predict(output)], dim=2).flatten(1)

    def state(self) -> dict[str, list[float]]:
        """What must be stored with the weights so that predictions come in the right unit."""
        return {"mean": self.mean.tolist(), "sd": self.sd.tolist()}

    @classmethod
    def fit(
        cls, config: RegressionConfig, target: Float[Tensor, "B T"], names: object = None, add_up: Sum = alone
    ) -> "Regression":
        """The task with its standardisation fitted on the training targets that are known, of all ranks."""
        mean, sd = moments(target, add_up)
        return cls(config, mean.float(), sd.float().clamp_min(1e-6))

    @classmethod
    def restore(cls, config: RegressionConfig, state: dict[str, list[float]]) -> "Regression":
        """The task as it was stored by `state`."""
        return cls(config, torch.tensor(state["mean"]), torch.tensor(state["sd"]))
