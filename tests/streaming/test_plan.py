"""The plan is a pure function: what is in each batch is proved here without reading a byte."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distunlearn.errors import UserError
from distunlearn.streaming.draws import windowed
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


@settings(max_examples=200)
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


STRATA = st.lists(st.lists(st.integers(1, 40), min_size=3, max_size=3).map(tuple), min_size=1, max_size=4).map(tuple)


@given(STRATA, st.integers(4, 40), st.integers(0, 10**6))
def test_matched_sites_have_the_same_strata_in_every_batch(
    strata: tuple[tuple[int, ...], ...], batch: int, step: int
) -> None:
    """In each batch every site has the same number of scans of each stratum, and as many as every other site."""
    plan = Plan(tuple(map(sum, strata)), batch, 0, "unlearn", strata=strata)
    site, within = plan.samples(step)
    assert len(site) == batch // len(strata) * len(strata)
    drawn = []
    for index, held in enumerate(strata):
        stratum = np.searchsorted(np.cumsum(held), within[site == index], side="right")
        drawn.append(np.bincount(stratum, minlength=3).tolist())
    assert all(one == drawn[0] for one in drawn)
    assert sum(drawn[0]) == batch // len(strata)


def test_matched_scans_cycle_within_their_stratum() -> None:
    """No scan of a stratum comes again before all others of its site and stratum have; every stratum has its turn."""
    strata = ((40, 4, 9), (3, 11, 5))
    plan = Plan((53, 19), 8, 0, "unlearn", strata=strata)
    drawn: list[list[int]] = [[], []]
    for step in range(200):
        for site, within in zip(*plan.samples(step), strict=True):
            drawn[site].append(int(within))
    for own, held in zip(drawn, strata, strict=True):
        ends = np.cumsum(held)
        for size, end in zip(held, ends, strict=True):
            mine = [scan for scan in own if end - size <= scan < end]
            assert len(mine) > size
            for cycle in range(len(mine) // size):
                assert len(set(mine[cycle * size : (cycle + 1) * size])) == size


def test_matched_strata_come_as_the_sites_have_them_in_common() -> None:
    """A stratum weighs as much as the site with the smallest share of it has, so none has to repeat a few scans often."""
    plan = Plan((100, 100), 20, 0, "unlearn", strata=((90, 10), (50, 50)))
    young = sum(int((within[site == 1] < 50).sum()) for site, within in map(plan.samples, range(100)))
    assert young / 1000 == pytest.approx(50 / 60, abs=0.02)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12).map(tuple), st.integers(1, 4), st.integers(0, 50))
def test_draws_for_sequences_stay_within_a_window_of_shards(shards: tuple[int, ...], window: int, cycle: int) -> None:
    """A cycle is a permutation of all scans that finishes with `window` shards before it touches the next ones."""
    order = windowed(f"{cycle}", shards, window)
    assert sorted(order) == list(range(sum(shards)))
    shard = np.searchsorted(np.cumsum(shards), order, side="right")
    opened = list(dict.fromkeys(shard.tolist()))
    done = 0
    for at in range(0, len(opened), window):
        group = opened[at : at + window]
        size = sum(shards[index] for index in group)
        assert set(shard[done : done + size].tolist()) == set(group)
        done += size


def test_scans_in_sequence_cannot_be_matched() -> None:
    """A stratum's scans are scattered over all shards."""
    with pytest.raises(UserError, match="cannot be matched"):
        Plan((2,), 2, 0, "unlearn", strata=((1, 1),), shards=((2,),))
