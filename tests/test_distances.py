"""The distances of sites' features and the Dice overlap, derived again with loops, and their gradients by differences."""

import math

import pytest
import torch
from torch import Tensor

from distunlearn import distances, objectives


def drawn(seed: int, scans: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Features, groups of uneven size, labels of which one is missing."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(scans, 3, generator=generator, dtype=torch.float64)
    group = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2])[:scans]
    label = torch.rand(scans, generator=generator, dtype=torch.float64) * 4
    label[3] = torch.nan
    return features, group, label


def alike(features: Tensor, i: int, j: int) -> float:
    """The kernel of two scans, from its formula."""
    total = 0.0
    for width in (0.5, 2.0):
        squares = 0.0
        for column in features.T:
            sd = math.sqrt(((column - column.mean()) ** 2).mean().item() + 1e-6)
            squares += ((column[i] - column[j]).item() / sd) ** 2
        total += math.exp(-squares / features.shape[1] / width)
    return total


def test_conditional_alignment_is_its_equation() -> None:
    """Every scan's weighted likeness to its own group less that to the others, mean over scans that have both."""
    features, group, label = drawn(0)
    excess = []
    for i in range(9):
        sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
        for j in range(9):
            if j == i or math.isnan(label[i]) or math.isnan(label[j]):
                continue
            weight = math.exp(-((label[i] - label[j]).item() ** 2) / (2 * 0.7**2))
            sums[bool(group[i] == group[j])][0] += weight * alike(features, i, j)
            sums[bool(group[i] == group[j])][1] += weight
        if sums[True][1] > 1e-3 and sums[False][1] > 1e-3:
            excess.append(sums[True][0] / sums[True][1] - sums[False][0] / sums[False][1])
    found = distances.conditional_alignment(features, group, label, 0.7)
    assert found.item() == pytest.approx(sum(excess) / len(excess), abs=1e-12)


def test_discrepancy_is_its_equation() -> None:
    """Mean kernel within two groups less twice that between them, mean over pairs of groups."""
    features, group, _ = drawn(1)

    def mean(m: int, n: int) -> float:
        pairs = [alike(features, i, j) for i in range(9) for j in range(9) if group[i] == m and group[j] == n]
        return sum(pairs) / len(pairs)

    expected = sum(mean(m, m) + mean(n, n) - 2 * mean(m, n) for m, n in ((0, 1), (0, 2), (1, 2))) / 3
    assert distances.maximum_mean_discrepancy(features, group).item() == pytest.approx(expected, abs=1e-12)


def test_correlation_alignment_is_its_equation() -> None:
    """Squared differences of means and of covariances, mean over pairs of groups."""
    features, group, _ = drawn(2)
    z = (features - features.mean(0)) / (features.var(0, correction=0) + 1e-6).sqrt()
    mean = [z[group == n].mean(0) for n in range(3)]
    covariance = [torch.cov(z[group == n].T, correction=0) for n in range(3)]
    expected = 0.0
    for m, n in ((0, 1), (0, 2), (1, 2)):
        expected += ((mean[m] - mean[n]) ** 2).sum().item() / 3
        expected += ((covariance[m] - covariance[n]) ** 2).sum().item() / (4 * 9)
    assert distances.correlation_alignment(features, group).item() == pytest.approx(expected / 3, abs=1e-12)


@pytest.mark.parametrize("name", ["conditional_alignment", "maximum_mean_discrepancy", "correlation_alignment"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """Double precision differences agree with autograd."""
    features, group, label = drawn(3)
    rest = (group, label, 0.7) if name == "conditional_alignment" else (group,)
    assert torch.autograd.gradcheck(lambda x: getattr(distances, name)(x, *rest), features.requires_grad_(True))


def test_groups_that_are_copies_of_each_other_are_at_no_distance() -> None:
    """MMD and CORAL are 0 for the same features in both groups, and clearly not for shifted ones."""
    features = drawn(4)[0][:4]
    group = torch.tensor([0] * 4 + [1] * 4)
    for distance in (distances.maximum_mean_discrepancy, distances.correlation_alignment):
        assert distance(torch.cat([features, features]), group).item() == pytest.approx(0, abs=1e-12)
        assert distance(torch.cat([features, features + 3]), group).item() > 0.5


def test_alignment_does_not_see_what_the_label_explains() -> None:
    """Sites of other ages whose features are the age alone are not apart at the same age, though MMD is large."""
    age = torch.cat([torch.linspace(20, 60, 60), torch.linspace(40, 80, 60)]).double()
    group = torch.tensor([0] * 60 + [1] * 60)
    features = age[:, None].clone()
    assert abs(distances.conditional_alignment(features, group, age, 2.0).item()) < 0.05
    assert distances.maximum_mean_discrepancy(features, group).item() > 0.1
    assert distances.conditional_alignment(features + 30 * group[:, None], group, age, 2.0).item() > 0.1


def near(label: Tensor, within: float) -> Tensor:
    """How much labels are alike, none of a scan with itself."""
    weight = torch.exp(-((label[:, None] - label[None, :]) ** 2) / (2 * within**2))
    return weight * ~torch.eye(len(label), dtype=torch.bool)


def test_whitening_makes_the_scatter_at_a_similar_label_one_in_every_direction() -> None:
    """Half the weighted mean square of pairs' differences is the identity; a linear map of the features changes nothing."""
    random = torch.Generator().manual_seed(5)
    label = 4 * torch.rand(40, generator=random, dtype=torch.float64)
    noise = torch.randn(40, 3, generator=random, dtype=torch.float64)
    features = label[:, None] * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + noise
    weight = near(label, 0.7)
    z = distances.whitened(features, weight)
    gap = z[:, None] - z[None, :]
    scatter = torch.einsum("ij,ija,ijb->ab", weight, gap, gap) / (2 * weight.sum())
    assert torch.allclose(scatter, torch.eye(3, dtype=torch.float64), atol=0.03)  # all but the ridge
    mixed = features @ torch.tensor([[1.0, 0.9, 0.5], [0.0, 0.5, 0.3], [0.1, 0.0, 2.0]], dtype=torch.float64)
    of_mixed = distances.whitened(mixed, weight)
    assert torch.allclose(torch.cdist(z, z), torch.cdist(of_mixed, of_mixed), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "shift", [[0.0, 0.3], [2.0, 2.0]], ids=["between two copies of the age", "small beside the ages"]
)
def test_whitened_alignment_sees_what_hides_from_standardised_features(shift: list[float]) -> None:
    """Two features that are the age with one error, moved where the site is another: a probe would tell."""
    random = torch.Generator().manual_seed(6)
    age = 20 + 60 * torch.rand(200, generator=random, dtype=torch.float64)
    group = torch.arange(200) % 2
    error, own = torch.randn(2, 200, generator=random, dtype=torch.float64)
    features = torch.stack([age + error, age + error + 0.1 * own], dim=1)
    features = features + group[:, None] * torch.tensor(shift, dtype=torch.float64)
    plain, whitened = (
        distances.conditional_alignment(features, group, age, 2.0, whiten=on).item() for on in (False, True)
    )
    assert whitened > 5 * abs(plain)


def test_gradients_of_whitening_are_those_of_finite_differences() -> None:
    """Double precision differences agree with autograd."""
    features, group, label = drawn(7)
    assert torch.autograd.gradcheck(
        lambda x: distances.conditional_alignment(x, group, label, 0.7, whiten=True), features.requires_grad_(True)
    )


def test_soft_dice_is_its_formula_and_one_where_all_is_right() -> None:
    """2 Σ p g + 1 over Σ p + Σ g + 1, a class and scan."""
    classes = torch.tensor([[0, 1, 1, 2]])
    exact = torch.nn.functional.one_hot(classes, 3).transpose(1, 2).double()
    assert torch.equal(objectives.soft_dice(exact, classes), torch.ones(1, 3, dtype=torch.float64))
    even = torch.full((1, 3, 4), 1 / 3, dtype=torch.float64)
    assert objectives.soft_dice(even, classes)[0, 1].item() == pytest.approx((2 * 2 / 3 + 1) / (4 / 3 + 2 + 1))
