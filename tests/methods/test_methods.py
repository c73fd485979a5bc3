"""Methods are data: their ramps, their phases, and the maths of erasure."""

from typing import get_args

import pytest
import torch
from torch import nn

from distunlearn.engine.losses import LOSSES
from distunlearn.engine.phase_loss import reversed_gradient
from distunlearn.methods import (
    Confound,
    ConfoundKind,
    JointConfig,
    Ramp,
    ReversalConfig,
    StandardConfig,
    UnlearningConfig,
    leace,
    phases_of,
    told_beyond,
)
from distunlearn.methods.phase import Loss


def test_ramps_begin_and_end_where_they_should() -> None:
    """Nothing before the warm-up; DANN's ramp is 0 at first and nearly 1 at last."""
    assert Ramp(begins=0.3)(0.29) == 0
    assert Ramp(begins=0.3)(0.3) == 1
    dann = Ramp(shape="dann")
    assert dann(0) == 0
    assert dann(0.5) == pytest.approx(2 / (1 + 2.718281828**-5) - 1)
    assert dann(1) == pytest.approx(0.9999, abs=1e-4)


def test_a_phase_whose_terms_have_not_begun_is_left_out() -> None:
    """In the warm-up the paper's confusion update is not made, and the joint update is the task's alone."""
    paper = phases_of(UnlearningConfig(warm_up=0.5))
    assert [phase.name for phase in paper if phase.begun(0.4)] == ["task", "domain"]
    (_, joint) = phases_of(JointConfig(warm_up=0.5))
    assert joint.begun(0.4)
    assert [term.loss for term in joint.terms if term.ramp.begun(0.4)] == ["task"]


def test_reversal_turns_the_gradient_round_and_nothing_else() -> None:
    """The head's gradient is the plain one; what is before it gets minus strength times the plain one."""
    torch.manual_seed(0)
    body, head, x = nn.Linear(3, 2), nn.Linear(2, 2), torch.randn(5, 3)
    head(body(x)).square().sum().backward()
    plain = {name: value.grad.clone() for name, value in [("body", body.weight), ("head", head.weight)]}
    body.zero_grad()
    head.zero_grad()
    head(reversed_gradient(body(x), 0.3)).square().sum().backward()
    assert torch.allclose(head.weight.grad, plain["head"])
    assert torch.allclose(body.weight.grad, -0.3 * plain["body"])
    assert phases_of(ReversalConfig(strength=0.3))[0].terms[1].reverse


def test_erasure_removes_what_is_linear_and_least_of_the_rest() -> None:
    """The covariance with the concept is 0, what had none is untouched, and the map is a projection."""
    torch.manual_seed(0)
    z = torch.nn.functional.one_hot(torch.arange(90) % 3, 3).double()
    x = torch.randn(90, 4, dtype=torch.float64) + torch.cat([z @ torch.randn(3, 2).double(), torch.zeros(90, 2)], dim=1)
    centred, concept = x - x.mean(0), z - z.mean(0)
    weight, bias = leace(centred.T @ centred / 90, centred.T @ concept / 90, x.mean(0))
    erased = x @ weight.T + bias
    assert (erased - erased.mean(0)).T.mm(concept).abs().max() < 1e-9
    assert torch.allclose(weight @ weight, weight, atol=1e-9)
    assert torch.linalg.matrix_rank(weight) == 2
    assert torch.allclose(erased.mean(0), x.mean(0))


def test_what_the_target_explains_is_kept() -> None:
    """With the target taken out of the concept, a feature that differs between sites only through age is left alone."""
    torch.manual_seed(0)
    site = torch.arange(400) % 2
    age = (torch.randn(400) + 2 * site).double()
    z = torch.nn.functional.one_hot(site, 2).double()
    x = torch.stack([age, torch.randn(400).double() + 3 * site], dim=1)
    c = [part - part.mean(0) for part in (x, z, age[:, None])]
    cov = lambda a, b: c[a].T @ c[b] / 400  # noqa: E731
    told = told_beyond(cov(0, 1), cov(0, 2), cov(2, 2), cov(2, 1))
    assert told[0].abs().max() < 1e-9 < told[1].abs().max()
    design = torch.stack([torch.ones(400).double(), age], dim=1)
    residual = z - design @ torch.linalg.lstsq(design, z).solution
    assert torch.allclose(told, c[0].T @ residual / 400, atol=1e-9)


@pytest.mark.parametrize("kind", ["categorical", "binned", "continuous"])
def test_confounds_of_each_kind(kind: str) -> None:
    """A head that knows pays nothing; one that has no idea is not confused further."""
    values = torch.tensor([1.5, 3.0, 3.0, 7.0, 1.5, 7.0])
    found = Confound.fit("field", ConfoundKind(column="field", kind=kind, bins=3), values)  # type: ignore[arg-type]
    truth = found.truth(values, torch.zeros(6, dtype=torch.long))
    if kind == "continuous":
        knows, none = truth[:, None, None], torch.zeros(6, 1, 1)
        least = 0.0
    else:
        assert truth.tolist() == [0, 1, 1, 2, 0, 2]
        knows, none = 50.0 * torch.nn.functional.one_hot(truth, 3)[:, None].float(), torch.zeros(6, 1, 3)
        least = torch.tensor(3.0).log().item()
    assert found.adversary(knows, truth).abs().max() < 1e-6 < found.adversary(none, truth).min()
    assert found.confusion(none).max().item() == pytest.approx(least)
    assert found.confusion(knows).max() > least


def test_a_confound_with_one_value_is_refused() -> None:
    """Nothing can be told from it."""
    with pytest.raises(ValueError, match="fewer than two values"):
        Confound.fit("coil", ConfoundKind(column="coil"), torch.tensor([1.0, 1.0, torch.nan]))


def test_every_loss_that_a_term_can_name_is_there() -> None:
    """And no other, so that a phase with a wrong name is found by mypy and not in training."""
    assert set(get_args(Loss)) == set(LOSSES)


def test_an_encoder_can_be_taught_the_site_first() -> None:
    """With `teach`, one update lowers the sum of the task's and the domain loss and moves all parts, as the authors begin."""
    (task,) = phases_of(StandardConfig(teach=0.5))
    assert set(task.updates) == {"encoder", "task_head", "domain_head"}
    assert [(term.loss, term.weight, term.reverse) for term in task.terms] == [
        ("task", 1.0, False),
        ("domain", 0.5, False),
    ]
    assert [phase.updates for phase in phases_of(StandardConfig())] == [("domain_head",), ("encoder", "task_head")]
