r"""Distances of the sites' features, for methods without an adversary: one value a batch.

Dimensions: `B` scans of the whole batch, `F` features, `G` groups (sites) that occur in it.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BANDWIDTHS = (0.5, 2.0)
"""Of the kernels below, in units of the mean squared distance of two standardised feature vectors, halved."""
RIDGE = 1e-3
"""Added to the scatter of standardised features before they are divided by it: less than that is not looked at."""


def standardised(features: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
    """Each feature with mean 0 and variance 1 over the batch."""
    return (features - features.mean(dim=0)) / (features.var(dim=0, correction=0) + 1e-6).sqrt()


def whitened(features: Float[Tensor, "B F"], near: Float[Tensor, "B B"]) -> Float[Tensor, "B F"]:
    r"""Features whose scatter among scans of a similar label is 1 in every direction: $z = L^{-1} x$, $L L^T = S$.

    .. math:: S = \frac{\sum_{ij} w_{ij} (x_i - x_j)(x_i - x_j)^T}{2 \sum_{ij} w_{ij}}

    Features that predict one thing are nearly copies of each other, and vary with it far more than among people of one
    age. What tells the scanner lies in their small differences and in shifts that are small beside the range of ages;
    a distance of standardised features sees neither, a probe sees both.

    Args:
        features: of the whole batch.
        near: w, how much the labels of each two scans are alike; symmetric, 0 on the diagonal.
    """
    x = standardised(features)
    laplacian = torch.diag(near.sum(dim=1)) - near
    scatter = x.T @ laplacian @ x / near.sum().clamp_min(1e-12)
    ridge = RIDGE * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    root = torch.linalg.cholesky_ex(scatter + ridge).L  # unchecked: a check would make the host wait for the device
    z: Tensor = torch.linalg.solve_triangular(root, x.T, upper=False).T
    return z


def kernel(z: Float[Tensor, "B F"]) -> Float[Tensor, "B B"]:
    r"""How alike each two scans are, from 0 to `len(BANDWIDTHS)`.

    .. math:: K_{ij} = \sum_b \exp\left(-\frac{|z_i - z_j|^2}{b F}\right)
    """
    distance = (z[:, None] - z[None, :]).square().mean(dim=2)
    return torch.stack([torch.exp(-distance / width) for width in BANDWIDTHS]).sum(dim=0)


def conditional_alignment(
    features: Float[Tensor, "B F"],
    group: Int[Tensor, " B"],
    label: Float[Tensor, " B"],
    within: float,
    *,
    whiten: bool = False,
) -> Float[Tensor, ""]:
    r"""At a similar label, scans of the same group must not look more alike than those of other groups.

    .. math:: \frac{1}{|I|} \sum_{i \in I} \left[
        \frac{\sum_{j \in S_i} w_{ij} K_{ij}}{\sum_{j \in S_i} w_{ij}} -
        \frac{\sum_{j \in O_i} w_{ij} K_{ij}}{\sum_{j \in O_i} w_{ij}} \right],
        \qquad w_{ij} = \exp\left(-\frac{(y_i - y_j)^2}{2 h^2}\right)

    $S_i$: the others of i's group, $O_i$: the other groups, I: scans that have both at a label near enough
    ($\sum w > 10^{-3}$). In expectation it is 0 where the features are independent of the group given the label.

    Args:
        features: of the whole batch.
        group: index of each scan's site.
        label: what scans are compared at; scans where it is NaN are left out.
        within: h, in the label's unit; 0 compares equal labels only.
        whiten: compare features in units of their scatter at a similar label, not of that over the batch.
    """
    known = ~label.isnan()
    label = label.nan_to_num()
    gap = label[:, None] - label[None, :]
    near = (gap == 0).to(features) if within == 0 else torch.exp(-gap.square() / (2 * within**2)).to(features)
    near = near * (known[:, None] & known[None, :]) * ~torch.eye(len(label), dtype=torch.bool, device=label.device)
    same = near * (group[:, None] == group[None, :])
    other = near - same
    alike = kernel(whitened(features, near) if whiten else standardised(features))
    use = (same.sum(dim=1) > 1e-3) & (other.sum(dim=1) > 1e-3)
    excess = _weighted(alike, same) - _weighted(alike, other)
    return torch.where(use, excess, 0).sum() / use.sum().clamp_min(1)


def _weighted(alike: Float[Tensor, "B B"], weight: Float[Tensor, "B B"]) -> Float[Tensor, " B"]:
    return (alike * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-12)


def maximum_mean_discrepancy(features: Float[Tensor, "B F"], group: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    r"""Squared kernel distance of the groups' means (Gretton et al., JMLR 2012), mean over pairs of groups.

    .. math:: \operatorname{mean}_{m<n} \left( \bar K_{mm} + \bar K_{nn} - 2 \bar K_{mn} \right)
    """
    member = _one_hot(group).to(features)
    mean = member / member.sum(dim=0)
    between = mean.T @ kernel(standardised(features)) @ mean
    own = between.diagonal()
    return _mean_over_pairs(own[:, None] + own[None, :] - 2 * between)


def correlation_alignment(features: Float[Tensor, "B F"], group: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    r"""CORAL (Sun and Saenko, 2016) with means: squared distance of the groups' means and covariances.

    .. math:: \operatorname{mean}_{m<n} \left( \frac{1}{F} |\mu_m - \mu_n|^2 + \frac{1}{4 F^2} |C_m - C_n|_F^2 \right)

    On features standardised over the batch, so that its weight means the same for any encoder.
    """
    z = standardised(features)
    member = _one_hot(group).to(features)
    mean = (member / member.sum(dim=0)).T
    centre = mean @ z
    covariance = torch.einsum("gb,bi,bj->gij", mean, z, z) - centre[:, :, None] * centre[:, None, :]
    first = (centre[:, None] - centre[None, :]).square().mean(dim=2)
    second = (covariance[:, None] - covariance[None, :]).square().mean(dim=(2, 3)) / 4
    return _mean_over_pairs(first + second)


def _one_hot(group: Int[Tensor, " B"]) -> Int[Tensor, "B G"]:
    """A column for each group that occurs."""
    groups: Tensor = torch.unique(group)
    return (group[:, None] == groups[None, :]).long()


def _mean_over_pairs(distance: Float[Tensor, "G G"]) -> Float[Tensor, ""]:
    groups = len(distance)
    return distance.sum() / max(groups * (groups - 1), 1)
