"""What every task is to the engine: a loss a subject, a prediction, and an error that people understand.

Dimensions: `B` subjects, `P` columns of a prediction, `E` figures, `R` columns of a row.
"""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from distunlearn.batch import Batch


@runtime_checkable
class Task(Protocol):
    """A task, fitted on the training scans. `docs/extending.md` shows how one is added."""

    targets: tuple[str, ...]
    """Label columns that it needs; for a segmentation the labels are volumes, and this is empty."""
    outputs: int
    """Width of the head's output."""
    dense: bool
    """Whether the head answers at every voxel, which needs an encoder that gives a map."""
    predicted: tuple[str, ...]
    """Names of the columns of `predict`."""
    figure_names: tuple[str, ...]
    """What the columns of `figures` are called in metrics, such as mae; the first is that of the progress line."""
    columns: tuple[str, ...]
    """Names of the columns of `rows`: target, prediction, then whatever else belongs into predictions.tsv."""

    def truth(self, batch: Batch) -> Tensor:
        """What is known of the scans of a batch."""
        ...

    def loss(self, output: Tensor, truth: Tensor) -> Float[Tensor, " B"]:
        """$L_n$ of eq. (1), one value a subject."""
        ...

    def predict(self, output: Tensor) -> Float[Tensor, "B P"]:
        """What is said of a new scan, one row a scan."""
        ...

    def figures(self, output: Tensor, truth: Tensor) -> Float[Tensor, "B E"]:
        """How good it is, one row a scan; NaN where it is not known."""
        ...

    def rows(self, output: Tensor, truth: Tensor) -> Float[Tensor, "B R"]:
        """What predictions.tsv says of each scan; target and prediction are one number each, whatever the task."""
        ...

    def state(self) -> dict[str, Any]:
        """What must be stored with the weights."""
        ...
