"""Predict a class at every voxel, such as the tissue.

Dimensions: `B` subjects, `C` classes, `V` voxels of a scan, `R` columns of a row.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from distunlearn.batch import Batch
from distunlearn.objectives import soft_dice
from distunlearn.strict import Strict


class SegmentationConfig(Strict):
    """The segmentations that `distunlearn shard --segmentation` took along. Scans without one take no part in the task."""

    name: Literal["segmentation"] = "segmentation"
    classes: tuple[int, ...] | None = None
    """The values to predict, background first; every other value counts as background. All that occur if not given."""
    dice_weight: float = Field(1.0, ge=0)
    """Of 1 - soft Dice beside the cross entropy."""

    @property
    def targets(self) -> tuple[str, ...]:
        """No label columns: the labels are volumes."""
        return ()


class Segmentation:
    """Soft Dice and cross entropy a voxel; the figures are Dice scores, a class each."""

    targets: tuple[str, ...] = ()
    dense = True

    def __init__(self, config: SegmentationConfig, classes: tuple[int, ...]) -> None:
        self.config, self.values = config, classes
        self.outputs = len(classes)
        self.figure_names = ("dice", *(f"dice_{value}" for value in classes[1:]))
        self.predicted = tuple(f"share_{value}" for value in classes)
        self.columns = ("target", "prediction", *self.figure_names)

    def truth(self, batch: Batch) -> Int[Tensor, "B V"]:
        """Index of each voxel's class, -1 everywhere in a scan without a segmentation."""
        drawn = batch.segmentation.flatten(1)
        classes = torch.zeros_like(drawn, dtype=torch.int64)
        for index, value in enumerate(self.values):
            classes[drawn == value] = index
        return torch.where(drawn < 0, -1, classes)

    def loss(self, output: Float[Tensor, "B C ..."], truth: Int[Tensor, "B V"]) -> Float[Tensor, " B"]:
        """$L_n$ of eq. (1): mean cross entropy of the scan's voxels + 1 - soft Dice; 0 where nothing is drawn."""
        known = (truth >= 0).all(dim=1)
        logits, classes = output.flatten(2), truth.clamp_min(0)
        entropy = F.cross_entropy(logits, classes, reduction="none").mean(dim=1)
        overlap = soft_dice(logits.softmax(dim=1), classes)[:, 1:].mean(dim=1)
        return torch.where(known, entropy + self.config.dice_weight * (1 - overlap), 0)

    def predict(self, output: Float[Tensor, "B C ..."]) -> Float[Tensor, "B C"]:
        """The share of the scan's voxels that each class has."""
        return self._mask(output).mean(dim=2)

    def figures(self, output: Float[Tensor, "B C ..."], truth: Int[Tensor, "B V"]) -> Float[Tensor, "B E"]:
        """Dice of each class but the background behind their mean; NaN for a class that is neither drawn nor said."""
        said, drawn = self._mask(output), F.one_hot(truth.clamp_min(0), self.outputs).transpose(1, 2)
        both, either = (said * drawn).sum(dim=2), said.sum(dim=2) + drawn.sum(dim=2)
        dice = torch.where(either > 0, 2 * both / either, torch.nan)[:, 1:]
        dice = torch.where((truth >= 0).all(dim=1)[:, None], dice, torch.nan)
        return torch.cat([dice.nanmean(dim=1, keepdim=True), dice], dim=1)

    def rows(self, output: Float[Tensor, "B C ..."], truth: Int[Tensor, "B V"]) -> Float[Tensor, "B R"]:
        """The share of the scan that is no background, drawn and said, and the figures."""
        drawn = torch.where((truth >= 0).all(dim=1), (truth > 0).float().mean(dim=1), torch.nan)
        said = 1 - self.predict(output)[:, 0]
        return torch.cat([drawn[:, None], said[:, None], self.figures(output, truth)], dim=1)

    def _mask(self, output: Float[Tensor, "B C ..."]) -> Float[Tensor, "B C V"]:
        return F.one_hot(output.flatten(2).argmax(dim=1), self.outputs).transpose(1, 2).float()

    def state(self) -> dict[str, Any]:
        """What must be stored with the weights."""
        return {"classes": list(self.values)}

    @classmethod
    def fit(
        cls, config: SegmentationConfig, target: object, names: dict[float, str], add_up: object = None
    ) -> "Segmentation":
        """The task, with the values that occur in the shards.

        Args:
            config: what is predicted.
            target: not looked at.
            names: the values that occur, as numbers.
            add_up: not looked at; a federated run gives `config.classes`.

        Raises:
            ValueError: fewer than two.
        """
        classes = config.classes or tuple(sorted(int(value) for value in names))
        if len(classes) < 2:
            raise ValueError(
                "the shards hold no segmentations with two values or more (distunlearn shard --segmentation)"
            )
        return cls(config, classes)

    @classmethod
    def restore(cls, config: SegmentationConfig, state: dict[str, Any]) -> "Segmentation":
        """The task as it was stored by `state`."""
        return cls(config, tuple(state["classes"]))
