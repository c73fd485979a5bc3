"""Remarks on the health of a training, on planted situations."""

import math
import re
from typing import Any

import pytest

from distunlearn.probing.health import findings

SITES = 3
NOTHING = math.log(SITES)
WELL = {"train/domain": 0.7, "train/confusion": 1.6, "val/mae": 5.0, "val/domain_head": 0.7, "val/spread": 0.8}


def course(*epochs: dict[str, float], stage: str = "unlearning") -> list[dict[str, Any]]:
    """Two lines an epoch: one within it, one at its end with the figures of validation."""
    lines = []
    for number, changes in enumerate(epochs):
        figures = WELL | changes
        losses = {name: value for name, value in figures.items() if name.startswith("train/")}
        lines += [{"stage": stage, "epoch": number, **values} for values in (losses, figures)]
    return lines


def said(*epochs: dict[str, float]) -> dict[str, str]:
    """What is said after the last of these epochs, which follow one of standard training at a validation MAE of 5."""
    before = [{"stage": "standard", "epoch": 0, "val/mae": 5.0, "val/spread": 0.8}]
    return findings([*before, *course(*epochs)], stage="unlearning", sites=SITES)


def test_nothing_is_said_of_a_training_that_goes_well() -> None:
    """The head learns, the confusion falls, the error stays."""
    assert said({}, {"train/confusion": 1.4}, {"train/confusion": 1.2, "val/domain_head": 0.6}) == {}
    assert findings([], stage="unlearning", sites=SITES) == {}


@pytest.mark.parametrize(
    ("planted", "kind", "words"),
    [
        ({"train/domain": 0.1 * NOTHING}, "head", "far ahead"),
        ({"train/domain": NOTHING}, "head", "gone or the head is starved"),
        ({"train/domain": NOTHING, "val/scanner_accuracy": 0.9}, "head", "starved .* fresh probe tells 90%"),
        ({"val/spread": 0.03}, "collapse", "collapsing.*3%.*80% at best"),
        ({"val/mae": 6.5}, "cost", "was 5 before the stage and is 6.5"),
    ],
)
def test_each_planted_fault_is_named(planted: dict[str, float], kind: str, words: str) -> None:
    """One fault in the last epoch gives one remark, of its kind."""
    found = said({}, planted)
    assert list(found) == [kind]
    assert re.search(words, found[kind])


def test_a_head_that_a_fresh_probe_confirms_is_not_called_starved() -> None:
    """The scanner is gone: neither the head nor a fresh probe tells it."""
    assert said({}, {"train/domain": NOTHING, "val/scanner_accuracy": 0.36}) == {}


def test_unlearning_without_effect_is_named_after_three_epochs() -> None:
    """Neither the confusion loss nor the head's accuracy falls; one of them falling is an effect."""
    stuck: dict[str, float] = {}
    assert said(stuck, stuck) == {}
    assert "no effect after 3 epochs" in said(stuck, stuck, stuck)["effect"]
    assert said(stuck, stuck, {"val/domain_head": 0.6}) == {}
    assert said(stuck, stuck, {"train/confusion": 1.5}) == {}


def test_a_first_stage_is_given_time_to_learn() -> None:
    """Predictions that are alike are no collapse at the beginning, and are named after three epochs."""
    flat = {"val/spread": 0.01}
    first = [course(*[flat] * number, stage="standard") for number in (1, 3)]
    early, late = (findings(lines, stage="standard", sites=SITES) for lines in first)
    assert "collapse" not in early
    assert "not learned yet" in late["collapse"]


def test_a_dice_score_that_rises_costs_nothing() -> None:
    """Of a figure that rises as the task is learned, a fall is the cost."""
    lines = [{"stage": "standard", "epoch": 0, "val/dice": 0.8}]
    for now, kinds in ((0.9, []), (0.7, ["cost"])):
        found = findings(
            [*lines, {"stage": "unlearning", "epoch": 0, "val/dice": now}],
            stage="unlearning", sites=SITES, watch="val/dice",
        )  # fmt: skip
        assert list(found) == kinds
