"""Tasks: losses, what is reported of them, and missing labels."""

import pytest
import torch

from distunlearn.tasks import (
    Classification,
    ClassificationConfig,
    Regression,
    RegressionConfig,
    Segmentation,
    SegmentationConfig,
    Task,
)

NAN = torch.nan


def test_every_task_is_a_task() -> None:
    """The engine's contract is met."""
    regression = Regression(RegressionConfig(), torch.zeros(1), torch.ones(1))
    classification = Classification.fit(ClassificationConfig(), torch.tensor([[0.0], [1.0]]), {0.0: "F", 1.0: "M"})
    assert all(
        isinstance(task, Task) for task in (regression, classification, Segmentation(SegmentationConfig(), (0, 1)))
    )


@pytest.mark.parametrize(
    ("loss", "expected"), [("squared", 4.0), ("absolute", 2.0), ("huber", 0.5 * (2 * 2 - 0.5 * 0.5 * 2))]
)
def test_regression_losses(loss: str, expected: float) -> None:
    """Of an error of two standard deviations."""
    config = RegressionConfig(loss=loss, delta=0.5 if loss == "huber" else 1.0)  # type: ignore[arg-type]
    task = Regression(config, torch.tensor([50.0]), torch.tensor([10.0]))
    found = task.loss(torch.tensor([[0.0]]), torch.tensor([[70.0]])).item()
    assert found == pytest.approx(0.5 * (2 - 0.25) if loss == "huber" else expected)


def test_missing_targets_neither_count_nor_move_anything() -> None:
    """A scan is learned from by the targets that it has; the gradient at a missing one is exactly 0, never NaN."""
    target = torch.tensor([[50.0, NAN], [60.0, 3.0], [70.0, 5.0]])
    task = Regression.fit(RegressionConfig(targets=("age", "score")), target)
    assert task.mean.tolist() == [60.0, 4.0]
    assert task.sd.tolist() == pytest.approx([10.0, 2**0.5])
    output = torch.zeros(3, 2, requires_grad=True)
    loss = task.loss(output, target)
    assert loss.tolist() == pytest.approx([1.0, 0.25, 0.75])
    loss.sum().backward()
    assert output.grad is not None
    assert output.grad[0, 1] == 0
    assert torch.isfinite(output.grad).all()
    assert task.figures(output, target)[0].isnan().tolist() == [False, True]
    assert task.columns == ("target", "prediction", "target_score", "prediction_score")


def test_classes_are_found_named_and_weighed() -> None:
    """Balanced weights make both classes weigh the same; a label that is none of the training's counts as missing."""
    target = torch.tensor([[0.0], [0.0], [0.0], [2.0], [NAN]])
    config = ClassificationConfig(class_weights="balanced")
    task = Classification.fit(config, target, {0.0: "control", 1.0: "other", 2.0: "patient"})
    assert task.names == ("control", "patient")
    loss = task.loss(torch.zeros(5, 2), torch.tensor([0.0, 0.0, 0.0, 2.0, NAN]))
    assert loss[:3].sum().item() == pytest.approx(loss[3].item())
    assert loss[4] == 0
    figures = task.figures(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0.0, 0.0, 1.0]))
    assert figures[:2, 0].tolist() == [0.0, 1.0]
    assert figures[2].isnan().all()
    again = Classification.restore(config, task.state())
    assert torch.equal(again.loss(torch.ones(4, 2), target[:4, 0]), task.loss(torch.ones(4, 2), target[:4, 0]))


def test_weights_must_name_the_classes() -> None:
    """A weight for a class that is not there is refused by name."""
    config = ClassificationConfig(class_weights={"F": 1.0, "X": 2.0})
    with pytest.raises(ValueError, match="must name the classes F, M"):
        Classification.fit(config, torch.tensor([[0.0], [1.0]]), {0.0: "F", 1.0: "M"})


def test_a_scan_that_nobody_drew_costs_nothing() -> None:
    """Its loss is 0 and its Dice unknown; a perfect answer has Dice 1, and values that are no class are background."""
    task = Segmentation(SegmentationConfig(), (0, 3))
    drawn = torch.tensor([[0, 3, 7], [-1, -1, -1]], dtype=torch.int16)
    truth = torch.where(drawn < 0, -1, (drawn == 3).long())
    output = 40.0 * torch.nn.functional.one_hot(truth.clamp_min(0), 2).transpose(1, 2).float()
    assert task.loss(output, truth)[0] < 1e-6
    assert task.loss(-output, truth)[1] == 0
    assert task.figures(output, truth)[0].tolist() == [1.0, 1.0]
    assert task.figures(output, truth)[1].isnan().all()
    assert task.rows(output, truth)[0, :2].tolist() == pytest.approx([1 / 3, 1 / 3])
