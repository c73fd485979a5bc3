"""The rules of the one-line verdict."""

from typing import Any

import pytest

from distunlearn.probing.verdict import left_over, main_set, verdict

SOUND: dict[str, Any] = {"reasons": []}


def found(
    *, strongest: float = 0.35, p: float = 0.5, p_below: float = 0.5, change: float | None = None, scans: int = 40
) -> dict[str, Any]:
    """What was found on one set: intervals are five points to either side."""
    result: dict[str, Any] = {
        "scans": {"a": scans, "b": scans, "c": scans},
        "left_out": [],
        "chance": 1 / 3,
        "strongest": {"value": strongest, "low": strongest - 0.05, "high": strongest + 0.05},
        "floor": {"label_with_error": {"value": 0.36}},
        "null": {"mean": 0.35, "p": p, "p_below": p_below},
    }
    if change is not None:
        result["before"] = {"stage": "standard", "value": strongest - change}
        result["change"] = {"value": change, "low": change - 0.05, "high": change + 0.05}
    return result


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ({"matched": found()}, "not separable beyond age"),
        ({"matched": found(strongest=0.9, p=0.001)}, "separable"),
        ({"matched": found(strongest=0.6, p=0.001, change=-0.3)}, "reduced"),
        ({"matched": found(strongest=0.9, p=0.001, change=-0.02)}, "unchanged"),
        ({"matched": found(strongest=0.9, p=0.001, change=0.3)}, "unchanged"),
        ({"matched": found(change=-0.5)}, "not separable beyond age"),
        ({"matched": found(strongest=0.45)}, "undecided"),
        ({"matched": found(), "natural": found(strongest=0.7, p=0.001)}, "separable"),
        ({"matched": found(p_below=0.001)}, "separable"),
        ({"matched": found(strongest=0.27)}, "separable"),
        ({"matched": found(strongest=0.30)}, "not separable beyond age"),
        ({"matched": {"too_few": "too few people"}}, "undecided"),
    ],
)
def test_each_rule_leads_to_its_verdict(sets: dict[str, dict[str, Any]], expected: str) -> None:
    """Told on any set is separable; a loss makes it reduced; not told needs a narrow interval; nothing tried decides nothing."""
    name, sentence = verdict(sets, SOUND)
    assert name == expected
    assert sentence.lower().startswith(expected.split(maxsplit=1)[0])


def test_a_collapse_is_no_success() -> None:
    """A collapsed encoder at chance, or with less of the scanner than before, is not called a success."""
    collapsed: dict[str, Any] = {"reasons": ["the features are the same for everybody"]}
    for sets in (
        {"matched": found()},
        {"matched": found(strongest=0.6, p=0.001, change=-0.3)},
        {"matched": {"too_few": ""}},
    ):
        name, sentence = verdict(sets, collapsed)
        assert name == "collapsed"
        assert "the same for everybody" in sentence


def test_a_scanner_that_is_told_is_told_even_if_nothing_was_learned() -> None:
    """An untrained network that gives the scanner away is separable, and the sentence says that it knows nothing else."""
    name, sentence = verdict(
        {"matched": found(strongest=0.9, p=0.001)}, {"reasons": ["the error is that of the median"]}
    )
    assert name == "separable"
    assert "task is not learned: the error is that of the median" in sentence


def test_more_sets_ask_for_a_smaller_p_value() -> None:
    """A p value of 0.02 decides on one set and not among three, so that the level holds for all together."""
    assert verdict({"matched": found(p=0.02)}, SOUND)[0] == "separable"
    three = {"matched": found(p=0.02), "natural": found(), "travelling": found()}
    assert verdict(three, SOUND)[0] == "not separable beyond age"


def test_below_chance_is_called_what_it_is() -> None:
    """The sentence says that being told worse than by chance is information too."""
    for each in (found(p_below=0.001), found(strongest=0.2)):
        assert "worse than by chance on matched" in verdict({"matched": each}, SOUND)[1]


def test_the_figures_come_from_scans_on_which_age_cannot_help() -> None:
    """The larger of the matched and the travelling set stands for all; the natural one only when it is alone."""
    assert (
        main_set({"natural": found(scans=900), "matched": found(scans=40), "travelling": found(scans=50)})
        == "travelling"
    )
    assert main_set({"natural": found()}) == "natural"


def test_what_may_be_left_never_counts_from_below_the_null() -> None:
    """Five points of interval above a strongest probe that is five above the null; a probe below it is not believed."""
    assert left_over(found(strongest=0.4)) == pytest.approx(0.1)
    assert left_over(found(strongest=0.25)) == pytest.approx(0.05)
