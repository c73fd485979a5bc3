"""What is unlearned: the site, or any label of the scans, categorical or continuous.

Dimensions: `B` subjects, `H` domain heads, `K` outputs of each.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from distunlearn import objectives
from distunlearn.methods.phase import SITE
from distunlearn.moments import Sum, alone, moments
from distunlearn.strict import Strict


class ConfoundKind(Strict):
    """A label that the features should not tell."""

    column: str
    """Label column of the shards, such as sex, scanner, field_strength."""
    kind: Literal["categorical", "binned", "continuous"] = "categorical"
    """categorical: every value is a class; binned: numbers in `bins` classes of about as many training scans each, told
    and confused like sites; continuous: the head predicts the standardised number, and is confused when it answers the
    mean."""
    bins: int = Field(5, gt=1)
    """binned: how many classes."""
    cuts: tuple[float, ...] | None = Field(None, min_length=1)
    """categorical: the values, sorted; binned: the inner borders. For a federated run, in which no process sees all
    scans; found in the training scans if not given."""


class Confound(Strict):
    """A confound as it was found in the training scans, stored with the model."""

    name: str
    kind: Literal["categorical", "binned", "continuous"] = "categorical"
    cuts: tuple[float, ...] = ()
    """categorical: the values, sorted; binned: the inner borders; continuous: mean and standard deviation."""
    column: str = ""
    """Its label; none for the site, which is no label."""
    outputs: int
    """Of its head."""

    @classmethod
    def site(cls, sites: int) -> "Confound":
        """The site of each scan."""
        return cls(name=SITE, outputs=sites)

    @classmethod
    def fit(cls, name: str, config: ConfoundKind, values: Float[Tensor, " n"], add_up: Sum = alone) -> "Confound":
        """A label, from its values in the training scans of all ranks.

        Raises:
            ValueError: it has one value only, which tells nothing; or one that `cuts` does not name.
        """
        there = values[~values.isnan()].double()
        mean, sd = (value.item() for value in moments(there[:, None], add_up))
        if not sd > 0:
            raise ValueError("it has fewer than two values among the training scans")
        if config.kind == "continuous":
            return cls(name=name, column=config.column, kind="continuous", cuts=(mean, sd), outputs=1)
        if config.kind == "categorical":
            known = tuple(torch.unique(there).tolist())
            if config.cuts is not None and not set(known) <= set(config.cuts):
                raise ValueError("some scans have a value that cuts does not name")
            cuts = config.cuts or known
            return cls(name=name, column=config.column, cuts=cuts, outputs=len(cuts))
        inner = torch.linspace(0, 1, config.bins + 1, dtype=torch.float64)[1:-1]
        cuts = config.cuts or tuple(torch.unique(there.quantile(inner)).tolist())
        return cls(name=name, column=config.column, kind="binned", cuts=cuts, outputs=len(cuts) + 1)

    def truth(self, values: Tensor, domain: Int[Tensor, " B"]) -> Tensor:
        """What the head should say of each scan: a class, or the standardised number.

        Args:
            values: (B,), the label; not looked at for the site.
            domain: the site's index.
        """
        if self.name == SITE:
            return domain
        if self.kind == "continuous":
            return (values - self.cuts[0]) / self.cuts[1]
        cuts = torch.tensor(self.cuts, dtype=values.dtype).to(values.device, non_blocking=True)
        return torch.searchsorted(cuts, values.contiguous(), right=self.kind == "binned")

    def adversary(self, output: Float[Tensor, "B H K"], truth: Tensor) -> Float[Tensor, " B"]:
        """Eq. (2), or the squared error of a continuous confound; mean over the heads."""
        if self.kind == "continuous":
            return _mean_over_heads(output, lambda said: objectives.squared_error(said, truth[:, None].to(said)))
        return _mean_over_heads(output, lambda said: objectives.domain_cross_entropy(said, truth))

    def confusion(self, output: Float[Tensor, "B H K"]) -> Float[Tensor, " B"]:
        """Eq. (3), or how far from "no idea", the mean, the answer for a continuous confound is; mean over the heads."""
        if self.kind == "continuous":
            return _mean_over_heads(output, lambda said: said.square().mean(dim=1))
        return _mean_over_heads(output, objectives.confusion)


def _mean_over_heads(output: Tensor, loss: Callable[[Tensor], Any]) -> Tensor:
    return torch.stack([loss(said) for said in output.unbind(dim=1)]).mean(dim=0)
