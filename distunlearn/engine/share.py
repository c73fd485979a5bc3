"""This rank's share of a step: the scans of every role, with the counts of the global batch; whole or in pieces.

Dimensions: `N` domains.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from distunlearn.batch import Batch
from distunlearn.methods import Role


@dataclass(frozen=True)
class RoleBatch:
    """This rank's share of one role's batch and the subject counts of the global batch."""

    batch: Batch
    subjects: Int[Tensor, " N"]
    """S_n of eq. (1), all ranks together."""


StepBatch = Mapping[Role, RoleBatch]
"""`main` and `unlearn`; the same object under both names where X_u is X_p."""


def pieces_of(batches: StepBatch, pieces: int) -> list[StepBatch]:
    """A step's batches in pieces; some are empty where a role has fewer scans. Roles that share a batch still do."""
    if pieces == 1:
        return [batches]
    cut = {id(role.batch): _cut(role.batch, pieces) for role in batches.values()}
    return [
        {name: RoleBatch(cut[id(role.batch)][index], role.subjects) for name, role in batches.items()}
        for index in range(pieces)
    ]


def _cut(batch: Batch, pieces: int) -> list[Batch]:
    return [Batch(*parts) for parts in zip(*(part.tensor_split(pieces) for part in batch), strict=True)]
