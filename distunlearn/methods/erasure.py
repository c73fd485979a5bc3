"""Erasure after training: a linear map, fitted on training features, takes what is linear of the confounds out of them.

LEACE (Belrose et al., NeurIPS 2023): of all affine maps after which no linear classifier tells the confound better than
chance, the one that changes the features least. The map becomes the encoder's last layer; the encoder itself is left as
it is, and the task head is trained again on what remains. Nothing is needed of a new scan, not even its site.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from distunlearn.methods.phase import SITE, Phase, Term
from distunlearn.strict import Strict


class ErasureConfig(Strict):
    """Erase the confounds from the features linearly, then train the task head again."""

    name: Literal["erasure"] = "erasure"
    keep: bool = True
    """Erase only what the confound tells beyond the task's targets (and their squares); otherwise all of it, also what
    sites differ in by the age of their people."""
    confounds: tuple[str, ...] = (SITE,)
    """What is erased: `site`, and names of `confounds`."""


def erasure(config: ErasureConfig) -> tuple[Phase, ...]:
    """The map is fitted when the stage begins; after it, the task head alone learns."""
    return (Phase("task", ("task_head",), (Term("task", "main"),)),)


def leace(
    covariance: Float[Tensor, "F F"], told: Float[Tensor, "F K"], mean: Float[Tensor, " F"]
) -> tuple[Float[Tensor, "F F"], Float[Tensor, " F"]]:
    r"""The affine map x → A x + b that erases a concept z (one-hot site, say); to be given double precision.

    With $W = \Sigma_{xx}^{-1/2}$ and P the orthogonal projection onto the columns of $W \Sigma_{xz}$:

    .. math:: A = I - W^{+} P W, \qquad b = \bar x - A \bar x

    Args:
        covariance: $\Sigma_{xx}$ of the features of training scans.
        told: $\Sigma_{xz}$, covariance of features and concept.
        mean: $\bar x$.

    Returns:
        A and b.
    """
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > 1e-10 * values.max().clamp_min(1e-30)
    root = torch.where(kept, values.clamp_min(0).sqrt(), 0)
    inverse = torch.where(kept, 1 / root.clamp_min(1e-30), 0)
    whiten, unwhiten = vectors * inverse @ vectors.T, vectors * root @ vectors.T
    directions, strength, _ = torch.linalg.svd(whiten @ told, full_matrices=False)
    directions = directions[:, strength > 1e-8]
    weight = torch.eye(len(mean), dtype=mean.dtype, device=mean.device) - unwhiten @ directions @ directions.T @ whiten
    return weight, mean - weight @ mean


def told_beyond(
    told: Float[Tensor, "F K"],
    features_known: Float[Tensor, "F T"],
    known: Float[Tensor, "T T"],
    known_concept: Float[Tensor, "T K"],
) -> Float[Tensor, "F K"]:
    r"""$\Sigma_{xz}$ of what a concept z says beyond variables y: $\Sigma_{xz} - \Sigma_{xy} \Sigma_{yy}^{+} \Sigma_{yz}$.

    That is the covariance of the features with the residual of the least-squares fit of z on y.
    """
    size = known.diagonal().clamp_min(1e-30).sqrt()
    inverse = torch.linalg.pinv(known / size[:, None] / size[None, :], hermitian=True, rtol=1e-10)
    shared: Tensor = (features_known / size) @ inverse @ (known_concept / size[:, None])
    return told - shared
