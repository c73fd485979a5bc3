"""The plan is a pure function: what is in each batch is proved here without reading a byte."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distunlearn.errors import UserError
from distunlearn.streaming.plan import Plan

QUOTAS = st.sampled_from(["equal", "proportional", "random"])
SIZES = st.lists(st.integers(1, 300), min_size=1, max_size=7).map(tuple)


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    """Any plan: sites of any sizes, a batch that can hold them all, any quota."""
    sizes = draw(SIZES)
    return {
        "sizes": sizes,
        "batch": draw(st.integers(len(sizes), 64)),
        "seed": draw(st.integers(0, 9)),
        "role": "main",
        "quota": draw(QUOTAS),
    }


@given(plans(), st.integers(0, 10**6))
def test_every_batch_has_every_site(drawn_plan: dict[str, Any], step: int) -> None:
    """At any step, whatever the sizes and quotas, the batch is full and no site is absent from it."""
    plan = Plan(**drawn_plan)
    site, within = plan.samples(step)
    held = np.bincount(site, minlength=len(plan.sizes))
    assert len(site) == len(within) == plan.batch
    assert (held >= 1).all()
    np.testing.assert_array_equal(held, plan.counts(step))
    assert (within < np.asarray(plan.sizes)[site]).all()


@given(plans(), st.integers(0, 300), st.integers(1, 16))
def test_the_ranks_together_take_exactly_the_global_batch(drawn_plan: dict[str, Any], step: int, world: int) -> None:
    """For any number of ranks their slices are the global batch, each slot once, and differ by one scan at most."""
    plan = Plan(**drawn_plan)
    slices = [plan.rank_slice(step, rank, world) for rank in range(world)]
    together = Counter((int(s), int(w)) for site, within in slices for s, w in zip(site, within, strict=True))
    assert together == Counter((int(s), int(w)) for s, w in zip(*plan.samples(step), strict=True))
    lengths = [len(site) for site, _ in slices]
    assert max(lengths) - min(lengths) <= 1


@given(plans(), st.integers(0, 300), st.integers(1, 16))
def test_every_rank_has_every_site_that_goes_round(drawn_plan: dict[str, Any], step: int, world: int) -> None:
    """A site with as many scans in the batch as there are ranks is on each of them."""
    plan = Plan(**drawn_plan)
    enough = set(np.flatnonzero(plan.counts(step) >= world).tolist())
    for rank in range(world):
        assert enough <= set(plan.rank_slice(step, rank, world)[0].tolist())


@given(plans(), st.integers(0, 40))
def test_nothing_repeats_or_is_lost_within_a_cycle(drawn_plan: dict[str, Any], start: int) -> None:
    """Every site's draws, taken in runs of its size, are each a permutation of all its scans."""
    plan = Plan(**drawn_plan)
    drawn: list[list[int]] = [[] for _ in plan.sizes]
    for step in range(start + 30):
        np.testing.assert_array_equal(plan.drawn_before(step), [len(own) for own in drawn])
        for site, within in zip(*plan.samples(step), strict=True):
            drawn[site].append(int(within))
    for own, size in zip(drawn, plan.sizes, strict=True):
        for cycle in range(len(own) // size):
            assert sorted(own[cycle * size : (cycle + 1) * size]) == list(range(size))


@given(plans())
def test_an_epoch_sees_every_scan(drawn_plan: dict[str, Any]) -> None:
    """The steps of an epoch are the fewest in which every site has been drawn whole."""
    plan = Plan(**drawn_plan)
    steps = plan.steps_per_epoch
    assert (plan.drawn_before(steps) >= plan.sizes).all()
    assert (plan.drawn_before(steps - 1) < plan.sizes).any()


@given(plans(), st.integers(0, 10**9))
def test_any_step_is_reached_without_the_ones_before(drawn_plan: dict[str, Any], step: int) -> None:
    """A plan built anew draws the same at a step as one that has gone through others: there is no state."""
    plan = Plan(**drawn_plan)
    plan.samples(step + 1), plan.samples(step // 2)
    for one, other in zip(plan.samples(step), Plan(**drawn_plan).samples(step), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_draws_never_change_between_versions() -> None:
    """Golden draws: another numpy or another release must not train on another order."""
    plan = Plan((5, 3, 1), 7, 42, "main")
    drawn = [list(zip(*(part.tolist() for part in plan.samples(step)), strict=True)) for step in (0, 1000)]
    assert drawn == GOLDEN


GOLDEN = [
    [(0, 1), (0, 3), (0, 4), (1, 2), (1, 1), (2, 0), (2, 0)],
    [(0, 2), (0, 1), (1, 0), (1, 0), (1, 2), (2, 0), (2, 0)],
]


def test_seed_role_and_quota_each_change_the_draws_and_the_digest() -> None:
    """Two plans share a digest exactly when they draw the same."""
    base = Plan((50, 30), 8, 0, "main")
    others = [
        Plan((50, 30), 8, 1, "main"),
        Plan((50, 30), 8, 0, "unlearn"),
        Plan((50, 30), 8, 0, "main", "random"),
        Plan((50, 31), 8, 0, "main"),
        Plan((50, 30), 9, 0, "main"),
    ]
    assert base.digest() == Plan((50, 30), 8, 0, "main").digest()
    assert len({plan.digest() for plan in (base, *others)}) == 6
    for other in others:
        assert any(not np.array_equal(base.samples(step), other.samples(step)) for step in range(20))


def test_a_held_out_site_is_never_drawn() -> None:
    """A site without chosen scans keeps its index and takes no part."""
    plan = Plan((40, 0, 10), 6, 0, "main")
    assert plan.counts(5).tolist() == [3, 0, 3]
    assert set(plan.samples(5)[0].tolist()) == {0, 2}


def test_quotas_share_the_batch_as_they_say() -> None:
    """Equal: the remainder goes round; proportional: by size but never none; random: every split has its turn."""
    sizes = (5508, 813, 452)
    assert [Plan(sizes, 16, 0, "main").counts(step).tolist() for step in range(3)] == [[6, 5, 5], [5, 6, 5], [5, 5, 6]]
    assert Plan(sizes, 16, 0, "main", "proportional").counts(0).tolist() == [13, 2, 1]
    assert Plan((9000, 1, 1), 3, 0, "main", "proportional").counts(0).tolist() == [1, 1, 1]
    random = Plan(sizes, 5, 0, "main", "random")
    assert len({tuple(random.counts(step).tolist()) for step in range(200)}) == 6  # the compositions of 5 into 3 parts


def test_a_batch_that_cannot_hold_every_site_is_refused() -> None:
    """The message says how large the batch must be."""
    with pytest.raises(UserError, match="a batch of 2 cannot hold each of 3 sites; set the batch size to 3"):
        Plan((5, 5, 5), 2, 0, "main")
    with pytest.raises(UserError, match="no scan to train on"):
        Plan((0, 0), 2, 0, "main")
