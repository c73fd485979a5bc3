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
    features: Float[Tensor, "n F"], concept: Float[Tensor, "n K"]
) -> tuple[Float[Tensor, "F F"], Float[Tensor, " F"]]:
    r"""The affine map x → A x + b that erases a concept (one-hot site, say), in double precision.

    With $W = \Sigma_{xx}^{-1/2}$ and P the orthogonal projection onto the columns of $W \Sigma_{xz}$:

    .. math:: A = I - W^{+} P W, \qquad b = \bar x - A \bar x

    Args:
        features: of training scans.
        concept: of the same scans.

    Returns:
        A and b.
    """
    x = features.double()
    centred, z = x - x.mean(dim=0), concept.double() - concept.double().mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    kept = values > 1e-10 * values.max().clamp_min(1e-30)
    root = values.clamp_min(0).sqrt()
    inverse = torch.where(kept, 1 / root.clamp_min(1e-30), 0)
    whiten, unwhiten = vectors * inverse @ vectors.T, vectors * torch.where(kept, root, 0) @ vectors.T
    told, strength, _ = torch.linalg.svd(whiten @ (centred.T @ z / len(x)), full_matrices=False)
    told = told[:, strength > 1e-8]
    weight = torch.eye(x.shape[1], dtype=torch.float64, device=x.device) - unwhiten @ told @ told.T @ whiten
    return weight, x.mean(dim=0) - weight @ x.mean(dim=0)


def beyond(concept: Float[Tensor, "n K"], target: Float[Tensor, "n T"]) -> Float[Tensor, "n K"]:
    """What a concept says beyond the targets and their squares: the residual of a least-squares fit."""
    z, y = concept.double(), target.double()
    standard = (y - y.mean(dim=0)) / y.std(dim=0).clamp_min(1e-12)
    known = torch.cat([torch.ones_like(z[:, :1]), standard, standard.square()], dim=1)
    fitted: Tensor = known @ torch.linalg.lstsq(known, z, driver="gelsd" if z.device.type == "cpu" else None).solution
    return z - fitted
