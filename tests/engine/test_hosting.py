"""What a rank of a federated run may tell others: nothing of single scans, nothing over few of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import tiny

from distunlearn.config import EngineConfig
from distunlearn.engine.hosting import FEWEST, Hosting
from distunlearn.engine.runtime import Runtime
from distunlearn.errors import UserError
from distunlearn.streaming.manifest import read_study
from distunlearn.streaming.placement import Placement
from distunlearn.streaming.select import select
from distunlearn.streaming.selection import Selection


@pytest.fixture
def hosting(planted_shards: Path) -> Hosting:
    """A federated rank's view of the planted study."""
    return Hosting(Runtime(EngineConfig()), Placement(kind="federated"), read_study(planted_shards))


def test_sums_over_few_scans_do_not_leave_a_rank(hosting: Hosting) -> None:
    """Of a site with four scans neither the sum nor the count is told, of one with five both."""
    sums = torch.tensor([[8.0, 9.0, 1.0], [FEWEST - 1, FEWEST, 0]])
    assert hosting.speakable(sums).tolist() == [[0, 9, 0], [0, FEWEST, 0]]


def test_a_site_with_few_scans_is_refused(hosting: Hosting) -> None:
    """A federated run does not train on four scans of a site; one that is held out does no harm."""
    chosen = select(hosting.study, Selection(), split="train")
    hosting.refuse_few(replace(chosen, counts=(24, FEWEST, 0)))
    with pytest.raises(UserError, match=r"site beta: fewer than 5 scans"):
        hosting.refuse_few(replace(chosen, counts=(24, FEWEST - 1, 0)))


def test_the_range_of_a_target_is_no_persons_value(hosting: Hosting) -> None:
    """Mean and two standard deviations; a pooled run tells the least and the greatest."""
    target = torch.tensor([[20.0], [40.0], [60.0], [80.0]])
    (low, high) = hosting.ranges(target, ("age",))["age"]
    assert low == pytest.approx(50 - 2 * target.std().item())
    assert high == pytest.approx(50 + 2 * target.std().item())
    assert replace(hosting, placement=Placement()).ranges(target, ("age",)) == {"age": (20, 80)}


@pytest.mark.parametrize("kind", ["conditional", "mmd", "coral"])
def test_features_leave_a_site_only_where_the_configuration_says_so(kind: str) -> None:
    """Methods that compare scans of two sites are refused, unless `share: features` allows what they send."""
    method = f"stages.1.method={{name: alignment, kind: {kind}, share: %s}}"
    settings = ("data.placement.kind=federated", "stages.1.learning_rate=0.001")
    with pytest.raises(UserError, match="features would leave them"):
        Hosting.read(tiny(Path("none"), *settings, method % "nothing"), Runtime(EngineConfig()))
    with pytest.raises(
        UserError, match="a federated run needs"
    ):  # the next check, which this single process does not pass
        Hosting.read(tiny(Path("none"), *settings, method % "features"), Runtime(EngineConfig()))
