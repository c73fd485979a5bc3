r"""The paper's equations (1) to (5), each one value a subject, and the two ways in which they are reduced.

Dimensions: `B` subjects of this rank's share of a batch, `N` domains, `T` targets, `C` classes, `V` voxels, `F` features.

Equations (4) and (5) are (2) and (3) on another set of scans, X_u; which set is the plan's business, not the loss's.
Losses are summed over ranks, so each rank contributes its *share*: the sum over ranks of what the two reducers return
is the loss of the global batch, whatever the placement. See `engine.step` for how the gradients follow.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def squared_error(prediction: Float[Tensor, "B T"], target: Float[Tensor, "B T"]) -> Float[Tensor, " B"]:
    r"""$L_n(y_j, \hat y_j)$ of eq. (1) for a regression task: the squared error, mean over the T targets.

    .. math:: \frac{1}{T} \sum_t (y_{jt} - \hat y_{jt})^2

    Args:
        prediction: $\hat y$, in the unit of the target.
        target: $y$.

    Example:
        >>> squared_error(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))
        tensor([0., 4.])
    """
    return (prediction - target).square().mean(dim=1)


def mean_over_labelled(loss: Float[Tensor, "B T"], target: Float[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """A subject's mean over those of its T targets that are known (not NaN); 0 where none is.

    Example:
        >>> mean_over_labelled(torch.tensor([[4.0, 2.0]]), torch.tensor([[1.0, torch.nan]]))
        tensor([4.])
    """
    known = ~target.isnan()
    return torch.where(known, loss, 0).sum(dim=1) / known.sum(dim=1).clamp_min(1)


def domain_cross_entropy(logits: Float[Tensor, "B N"], domain: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    r"""$L_d$, eq. (2) and (4): how badly the domain classifier tells each subject's scanner.

    .. math:: - \sum_{n=1}^N 1[d = n] \log p_n, \qquad p = \mathrm{softmax}(logits)

    Args:
        logits: the domain head's output, before any softmax (the log of a softmax that underflows is -inf).
        domain: index in [0, N) of each subject's site.

    Example:
        >>> domain_cross_entropy(torch.zeros(1, 2), torch.tensor([1]))
        tensor([0.6931])
    """
    return -F.log_softmax(logits, dim=1).gather(1, domain[:, None]).squeeze(1)


def confusion(logits: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    r"""$L_{conf}$, eq. (3) and (5): how far the domain classifier is from saying "any of them, equally".

    .. math:: - \sum_{n=1}^N \frac{1}{N} \log p_n

    Its minimum is $\log N$, where every $p_n = 1/N$.

    Args:
        logits: the domain head's output, before any softmax.

    Example:
        >>> confusion(torch.zeros(1, 4))  # log 4
        tensor([1.3863])
    """
    return -F.log_softmax(logits, dim=1).mean(dim=1)


def mean_of_each_domain(
    loss: Float[Tensor, " B"], domain: Int[Tensor, " B"], subjects: Int[Tensor, " N"]
) -> Float[Tensor, ""]:
    r"""Sum over domains of the mean over each domain's subjects: $L_p$, eq. (1).

    .. math:: L_p = \sum_{n=1}^N \frac{1}{S_n} \sum_{j=1}^{S_n} L_n(y_{jn}, \hat y_{jn})

    Args:
        loss: $L_n(y_{jn}, \hat y_{jn})$ of each subject on this rank.
        domain: index in [0, N) of each subject's site.
        subjects: $S_n$ of the *global* batch, all ranks together.

    Returns:
        This rank's share of $L_p$, in the unit of `loss`.

    Example:
        >>> loss, domain = torch.tensor([4.0, 2.0, 10.0]), torch.tensor([0, 0, 1])
        >>> mean_of_each_domain(loss, domain, torch.tensor([2, 1]))
        tensor(13.)
    """
    return (loss / subjects[domain]).sum()


def mean_of_all(loss: Float[Tensor, " B"], domain: Int[Tensor, " B"], subjects: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    r"""Mean over all subjects of the global batch, whatever their domain: how eq. (2) and (3) are averaged.

    .. math:: \frac{1}{\sum_n S_n} \sum_j L_j

    Args:
        loss: of each subject on this rank.
        domain: not used; here so that both reducers are called alike.
        subjects: $S_n$ of the global batch, all ranks together.

    Returns:
        This rank's share of the mean.

    Example:
        >>> mean_of_all(torch.tensor([4.0, 2.0]), torch.tensor([0, 1]), torch.tensor([2, 2]))
        tensor(1.5000)
    """
    return loss.sum() / subjects.sum()


def soft_dice(probability: Float[Tensor, "B C V"], classes: Int[Tensor, "B V"]) -> Float[Tensor, "B C"]:
    r"""Overlap of each class in each scan, 1 where it is complete (Milletari et al., 2016, with sums, smoothed by 1).

    .. math:: \frac{2 \sum_v p_v g_v + 1}{\sum_v p_v + \sum_v g_v + 1}
    """
    drawn = F.one_hot(classes, probability.shape[1]).transpose(1, 2)
    both = (probability * drawn).sum(dim=2)
    return (2 * both + 1) / (probability.sum(dim=2) + drawn.sum(dim=2) + 1)
