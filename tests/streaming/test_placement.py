"""Which rank reads what: the ranks together always take exactly the batch of the plan."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distunlearn.errors import UserError
from distunlearn.streaming.placement import Placement
from distunlearn.streaming.plan import Plan

SITES = ("biobank", "oasis", "whitehall")
FEDERATED = Placement(kind="federated")


@settings(max_examples=200)
@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=6).map(tuple),
    st.integers(6, 64),
    st.integers(1, 16),
    st.integers(0, 999),
)
def test_pooled_ranks_deal_the_batch_among_them(sizes: tuple[int, ...], batch: int, world_size: int, step: int) -> None:
    """Each slot is on one rank, ranks differ by one scan at most, and a site that goes round is on every rank."""
    plan = Plan(sizes, batch, 0, "main")
    slots, _ = plan.samples(step)
    taken = np.stack([Placement().take(SITES, slots, rank, world_size) for rank in range(world_size)])
    assert (taken.sum(axis=0) == 1).all()
    assert np.ptp(taken.sum(axis=1)) <= 1
    for site in np.flatnonzero(plan.counts(step) >= world_size):
        assert all(site in slots[mine] for mine in taken)


@given(st.permutations(range(5)), st.integers(3, 40), st.integers(0, 999))
def test_federated_ranks_take_the_slots_of_their_sites(ranks: list[int], batch: int, step: int) -> None:
    """Each slot is on one rank, which hosts its site; a site with several hosts is shared evenly among them."""
    hosts = {"biobank": (ranks[0], ranks[1]), "oasis": (ranks[2],), "whitehall": (ranks[3], ranks[4], ranks[0])}
    placement = Placement(kind="federated", hosts=hosts)
    slots, _ = Plan((50, 7, 1), batch, 0, "main").samples(step)
    taken = np.stack([placement.take(SITES, slots, rank, 5) for rank in range(5)])
    assert (taken.sum(axis=0) == 1).all()
    for index, site in enumerate(SITES):
        shares = taken[:, slots == index].sum(axis=1)
        assert set(np.flatnonzero(shares)) <= set(hosts[site])
        assert np.ptp(shares[list(hosts[site])]) <= 1


def test_without_hosts_each_rank_has_the_site_of_its_number() -> None:
    """One process a site is the common case and needs no map."""
    assert [FEDERATED.hosted(SITES, rank, 3) for rank in range(3)] == [("biobank",), ("oasis",), ("whitehall",)]
    assert Placement().hosted(SITES, 0, 3) is None


@pytest.mark.parametrize(
    ("hosts", "world_size", "message"),
    [
        ({"biobank": (0,), "oasis": (1,)}, 2, "no rank hosts whitehall"),
        ({"biobank": (0,), "oasis": (1,), "whitehall": (2,), "oassis": (1,)}, 3, "oassis is no site of this run"),
        ({}, 2, r"hosts name the ranks \[0, 1, 2\], but there are 2 processes"),
        ({"biobank": (0,), "oasis": (0,), "whitehall": (0,)}, 2, "but there are 2 processes"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(hosts: dict[str, tuple[int, ...]], world_size: int, message: str) -> None:
    """Every site needs a rank and every rank a site, before anything is read."""
    with pytest.raises(UserError, match=message):
        Placement(kind="federated", hosts=hosts).hosted(SITES, 0, world_size)


def test_hosts_without_federated_are_refused() -> None:
    """A map that would be ignored is a mistake; so is a federated run whose sites are not named."""
    with pytest.raises(UserError, match="set kind: federated"):
        Placement.read({"hosts": {"oasis": [0]}}, "data.placement")
    with pytest.raises(UserError, match="needs `sites`"):
        FEDERATED.hosted(None, 0, 3)


def test_counts_are_completed_by_one_sum_in_which_each_site_speaks_once() -> None:
    """A rank sends the counts of the sites of which it is the first host and zeros for the others."""
    placement = Placement(kind="federated", hosts={"biobank": (0,), "oasis": (1, 0), "whitehall": (2,)})
    whole = np.array([[5], [7], [9]])
    sent: list[torch.Tensor] = []

    def add_up(counts: torch.Tensor) -> torch.Tensor:
        sent.append(counts.clone())
        return torch.from_numpy(whole)

    known = {0: [[5], [7], [0]], 1: [[0], [7], [0]], 2: [[0], [0], [9]]}
    for rank, counts in known.items():
        np.testing.assert_array_equal(placement.share(SITES, rank, 3, add_up)(np.array(counts)), whole)
    assert [counts.flatten().tolist() for counts in sent] == [[5, 0, 0], [0, 7, 0], [0, 0, 9]]
    with pytest.raises(UserError, match="site oasis: its hosts do not have the same scans"):
        placement.share(SITES, 0, 3, add_up)(np.array([[5], [6], [0]]))


def test_unequal_sites_take_the_same_number_of_steps_on_every_rank() -> None:
    """Sites of 1, 7 and 500 scans: every rank has work in every step of the epoch, in either placement, and none more."""
    plan = Plan((1, 7, 500), 12, 0, "main")
    for placement, world_size in itertools.chain(((FEDERATED, 3),), ((Placement(), world) for world in range(1, 13))):
        work = [
            [
                placement.take(SITES, plan.samples(step)[0], rank, world_size).sum()
                for step in range(plan.steps_per_epoch)
            ]
            for rank in range(world_size)
        ]
        assert np.min(work) >= 1
