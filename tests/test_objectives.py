"""Equations (1) to (5), against the paper's sums written as plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distunlearn.objectives import (
    confusion,
    domain_cross_entropy,
    mean_of_all,
    mean_of_each_domain,
    soft_dice,
    squared_error,
)

torch.manual_seed(0)
LOGITS = torch.randn(7, 3, dtype=torch.float64) * 3
DOMAIN = torch.tensor([0, 2, 1, 0, 0, 2, 1])


def softmax(row: list[float]) -> list[float]:
    """The softmax by its definition."""
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def test_domain_loss_is_equation_2() -> None:
    """The domain loss of a subject is -Σ 1[d = n] log p_n."""
    for row, domain, loss in zip(
        LOGITS.tolist(), DOMAIN.tolist(), domain_cross_entropy(LOGITS, DOMAIN).tolist(), strict=True
    ):
        p = softmax(row)
        expected = -sum((1.0 if domain == n else 0.0) * math.log(p[n]) for n in range(3))
        assert math.isclose(loss, expected, rel_tol=1e-12)


def test_confusion_is_equation_3() -> None:
    """The confusion loss of a subject is -Σ (1/N) log p_n."""
    for row, loss in zip(LOGITS.tolist(), confusion(LOGITS).tolist(), strict=True):
        assert math.isclose(loss, -sum(math.log(p) / 3 for p in softmax(row)), rel_tol=1e-12)


def test_task_loss_is_equation_1() -> None:
    """The task loss is the sum over domains of the mean over that domain's subjects."""
    prediction, target = torch.randn(7, 2, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)
    expected = 0.0
    for n in range(3):
        members = [j for j in range(7) if DOMAIN[j] == n]
        each = [sum((target[j, t] - prediction[j, t]).item() ** 2 for t in range(2)) / 2 for j in members]
        expected += sum(each) / len(members)
    loss = mean_of_each_domain(squared_error(prediction, target), DOMAIN, torch.bincount(DOMAIN))
    assert math.isclose(loss.item(), expected, rel_tol=1e-12)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.integers(0, 12))
def test_shares_of_ranks_add_up(domains: list[int], cut: int) -> None:
    """However a batch is cut into two shares, their losses add up to the loss of the whole batch."""
    domain = torch.tensor(domains)
    loss = torch.arange(1.0, len(domains) + 1, dtype=torch.float64)
    subjects = torch.bincount(domain, minlength=3).clamp_min(1)
    for reduce in (mean_of_each_domain, mean_of_all):
        shares = reduce(loss[:cut], domain[:cut], subjects) + reduce(loss[cut:], domain[cut:], subjects)
        assert torch.isclose(shares, reduce(loss, domain, subjects), rtol=1e-12)


@pytest.mark.parametrize("sites", [2, 3, 22])
def test_confusion_is_least_at_uniform(sites: int) -> None:
    """No logits give less confusion loss than log N; equal logits give exactly that, and there the gradient is 0."""
    even = torch.full((1, sites), 7.0, dtype=torch.float64, requires_grad=True)
    least = confusion(even)
    assert math.isclose(least.item(), math.log(sites), rel_tol=1e-12)
    least.sum().backward()
    assert even.grad is not None
    assert even.grad.abs().max() < 1e-15
    assert (confusion(torch.randn(200, sites)) > math.log(sites)).all()


@pytest.mark.parametrize("size", [100.0, 400.0, 1e30])
def test_extreme_logits_stay_finite(size: float) -> None:
    """A saturated domain head gives the losses and gradients of the limit, where log(softmax) gives inf and NaN."""
    logits = torch.tensor([[size, -size, 0.0]], requires_grad=True)
    told, confused = domain_cross_entropy(logits, torch.tensor([1])), confusion(logits)
    assert told.item() == pytest.approx(2 * size)  # -log p_1, where p_0 is 1
    assert confused.item() == pytest.approx(size)  # (0 + 2 size + size) / 3
    (confused + told).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist()[0] == pytest.approx([1 - 1 / 3 + 1, -1 / 3 - 1, -1 / 3])
    naive = -logits.detach().softmax(dim=1).log().mean(dim=1)
    assert naive.isinf().all()


def test_gradients_by_finite_differences() -> None:
    """The gradients of all losses, also reduced as eq. (1) and (2) reduce them, are those that small steps measure."""
    logits = LOGITS.clone().requires_grad_()
    prediction = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    target = torch.randn(7, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: domain_cross_entropy(x, DOMAIN), logits)
    assert torch.autograd.gradcheck(confusion, logits)
    assert torch.autograd.gradcheck(lambda x: squared_error(x, target), prediction)
    subjects = torch.bincount(DOMAIN)
    for reduce in (mean_of_each_domain, mean_of_all):
        assert torch.autograd.gradcheck(
            lambda x, reduce=reduce: reduce(squared_error(x, target), DOMAIN, subjects), prediction
        )
    classes = torch.tensor([[0, 2, 1, 1]])
    probability = torch.rand(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: soft_dice(x, classes), probability)


def test_domain_and_confusion_are_means_over_all() -> None:
    """Eq. (2) and (3) of a batch are means over its subjects, whatever their domains."""
    loss = confusion(LOGITS)
    found = mean_of_all(loss, DOMAIN, torch.bincount(DOMAIN))
    assert math.isclose(found.item(), sum(loss.tolist()) / 7, rel_tol=1e-12)
