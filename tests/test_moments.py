"""Means over ranks that hold different scans are those of one process that holds all."""

import pytest
import torch

from distunlearn.methods.confound import Confound, ConfoundKind
from distunlearn.moments import moments
from distunlearn.tasks import Classification, ClassificationConfig


def test_ranks_add_up_to_the_moments_of_all_scans() -> None:
    """What two ranks of unequal size send adds up to what one process finds, and is one number a column a sum."""
    values = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)) * 9 + 50
    values[3, 0] = torch.nan
    sums: list[torch.Tensor] = []
    mean, sd = moments(values, lambda value: sums.append(value) or value)
    known = values[~values.isnan().any(dim=1)].double()
    torch.testing.assert_close(mean[1], values[:, 1].double().mean())
    torch.testing.assert_close((mean[0], sd[0]), (known[:, 0].mean(), known[:, 0].std()))
    sent: list[list[torch.Tensor]] = []
    for part in (values[:7], values[7:], values[:0]):
        answers, said = iter(sums), []
        told = moments(part, lambda value, said=said, answers=answers: said.append(value) or next(answers))
        torch.testing.assert_close(told, (mean, sd))
        sent.append(said)
    for whole, *parts in zip(sums, *sent, strict=True):
        assert whole.shape == (2,)
        torch.testing.assert_close(torch.stack(parts).sum(dim=0), whole)


def test_classes_that_no_process_sees_whole_are_named() -> None:
    """A rank whose scans are all of one class has both, with the weights of all ranks' counts."""
    config = ClassificationConfig(classes=(0, 1), class_weights="balanced")
    task = Classification.fit(config, torch.zeros(6, 1), {0.0: "0"}, lambda counts: counts + torch.tensor([0, 2]))
    assert task.names == ("0", "1")
    torch.testing.assert_close(task.weights, torch.tensor([8 / 12, 2.0]))


def test_a_confound_takes_the_cuts_that_it_is_given() -> None:
    """Given values are the classes, also such as no scan of this rank has; a value beside them is refused."""
    config = ConfoundKind(column="field", cuts=(1.5, 3.0, 7.0))
    assert Confound.fit("field", config, torch.tensor([1.5, 3.0, 3.0])).outputs == 3
    with pytest.raises(ValueError, match="cuts does not name"):
        Confound.fit("field", config, torch.tensor([1.5, 2.0]))
