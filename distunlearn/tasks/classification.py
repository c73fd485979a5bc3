"""Predict a class, such as sex or a diagnosis.

Dimensions: `B` subjects, `C` classes, `R` columns of a row.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from distunlearn.batch import Batch
from distunlearn.moments import Sum, alone
from distunlearn.strict import Strict


class ClassificationConfig(Strict):
    """Which label is predicted."""

    name: Literal["classification"] = "classification"
    target: str = "sex"
    """Label column of the shards; its values are the classes, two or more. A scan without it takes no part in the task."""
    classes: tuple[float, ...] | None = Field(None, min_length=2)
    """The values, for a federated run, in which no process sees them all; found in the training scans if not given."""
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    """balanced: every class weighs the same over all training scans; or a weight for each value of the label."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Label columns that the task needs."""
        return (self.target,)


class Classification:
    """Cross entropy over the values of a label; predictions are probabilities."""

    dense = False
    figure_names = ("error_rate",)

    def __init__(self, config: ClassificationConfig, values: Tensor, weights: Tensor, names: tuple[str, ...]) -> None:
        self.config, self.values, self.weights, self.names = config, values, weights, names
        self.targets, self.outputs = config.targets, len(names)
        self.predicted = tuple(f"probability_{name}" for name in names)
        self.columns = ("target", "prediction", *self.predicted)

    def truth(self, batch: Batch) -> Float[Tensor, " B"]:
        """The label, as the loader numbers it."""
        return batch.target[:, 0]

    def classes(self, truth: Float[Tensor, " B"]) -> Tensor:
        """Index of each scan's class, -1 where the label is missing or none of the training's."""
        found = truth[:, None] == self.values.to(truth, non_blocking=True)
        return torch.where(found.any(dim=1), found.long().argmax(dim=1), -1)

    def loss(self, output: Float[Tensor, "B C"], truth: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        r"""$L_n$ of eq. (1): $-w_c \log p_c$ of the true class c; 0 where it is not known."""
        classes = self.classes(truth)
        loss = F.cross_entropy(
            output, classes, self.weights.to(output, non_blocking=True), reduction="none", ignore_index=-1
        )
        assert isinstance(loss, Tensor)
        return loss

    def predict(self, output: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The probability of each class."""
        return output.softmax(dim=1)

    def figures(self, output: Float[Tensor, "B C"], truth: Float[Tensor, " B"]) -> Float[Tensor, "B 1"]:
        """1 where the likeliest class is not the true one."""
        classes = self.classes(truth)
        wrong = (output.argmax(dim=1) != classes).to(output)
        return torch.where(classes < 0, torch.nan, wrong)[:, None]

    def rows(self, output: Float[Tensor, "B C"], truth: Float[Tensor, " B"]) -> Float[Tensor, "B R"]:
        """Indices of the true and of the likeliest class, in the order of the probabilities' columns behind them."""
        classes = self.classes(truth).to(output)
        known = torch.where(classes < 0, torch.nan, classes)
        return torch.cat([known[:, None], output.argmax(dim=1)[:, None].to(output), self.predict(output)], dim=1)

    def state(self) -> dict[str, Any]:
        """What must be stored with the weights: classes, by name and as the loader numbers them, and their weights."""
        return {"values": self.values.tolist(), "weights": self.weights.tolist(), "names": list(self.names)}

    @classmethod
    def fit(
        cls, config: ClassificationConfig, target: Float[Tensor, "B T"], names: dict[float, str], add_up: Sum = alone
    ) -> "Classification":
        """The task with its classes found in the training scans.

        Args:
            config: what is predicted.
            target: (B, 1), the label of the training scans as the loader numbers it.
            names: what those numbers are called.
            add_up: the sum over ranks that hold different scans; they need `config.classes`.

        Raises:
            ValueError: fewer than two classes, or weights that do not name them.
        """
        known = target[~target.isnan()]
        values = torch.unique(known) if config.classes is None else torch.tensor(sorted(config.classes))
        counts = add_up((known[:, None] == values).sum(dim=0))
        if len(values) < 2 or not counts.all():
            raise ValueError(
                f"label {config.target!r} has fewer than two values among the training scans, or one that task.classes names is of none"
            )
        named = tuple(names.get(value, f"{value:g}") for value in values.tolist())
        weights = torch.ones(len(values))
        if config.class_weights == "balanced":
            weights = counts.sum() / (len(values) * counts.float())
        elif isinstance(config.class_weights, dict):
            if set(config.class_weights) != set(named):
                raise ValueError(f"task.class_weights must name the classes {', '.join(named)}")
            weights = torch.tensor([config.class_weights[name] for name in named])
        return cls(config, values, weights, named)

    @classmethod
    def restore(cls, config: ClassificationConfig, state: dict[str, Any]) -> "Classification":
        """The task as it was stored by `state`."""
        return cls(config, torch.tensor(state["values"]), torch.tensor(state["weights"]), tuple(state["names"]))
