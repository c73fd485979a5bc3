"""Permutations and batch compositions as pure functions of a key, the same on every machine and numpy version."""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Int, Num

Quota = Literal["equal", "proportional", "random"]


@lru_cache(maxsize=1024)
def permutation(key: str, n: int) -> Int[np.ndarray, " n"]:
    """A permutation of 0…n-1 that `key` alone decides.

    Philox is keyed by a digest and only its raw words are used: they are what numpy promises never to change (NEP 19).
    """
    words = np.random.Philox(
        key=int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "little")
    ).random_raw(n)
    order = np.argsort(words, kind="stable")
    order.flags.writeable = False  # the cache hands out this very array
    return order


Order = Callable[[str], Int[np.ndarray, " n"]]
"""From a cycle's key to the order of that cycle."""


def cycled(key: str, n: int, start: int, count: int, order: Order | None = None) -> Int[np.ndarray, " count"]:
    """Items `start` to `start + count` of an endless run of permutations of 0…n-1, each of its own key."""
    order = order or (lambda cycle_key: permutation(cycle_key, n))
    parts = [np.empty(0, dtype=np.int64)]
    while count > 0:
        cycle, place = divmod(start, n)
        part = order(f"{key}/{cycle}")[place : place + count]
        parts.append(part)
        start, count = start + len(part), count - len(part)
    return np.concatenate(parts)


def apportion(weights: Num[np.ndarray, " N"], total: int) -> Int[np.ndarray, " N"]:
    """Split `total` in proportion to `weights`, at least one each, by largest remainder (earlier index on a tie)."""
    shares = np.ones(len(weights), dtype=np.int64)
    exact = weights / weights.sum() * total
    while shares.sum() < total:
        shares[np.argmax(exact - shares)] += 1
    return shares


def composition(quota: Quota, counts: Int[np.ndarray, " N"], batch: int, key: str) -> Int[np.ndarray, " N"]:
    """How many scans of each site one batch holds, at least one each, before the sites take turns in it.

    Args:
        quota: equal shares, shares in proportion to `counts`, or any split of the batch with the same probability
            (the authors draw random splits too, but favour the first site and throw the rest of a loaded batch away).
        counts: scans a site.
        batch: scans in the batch, at least one a site.
        key: decides a random composition.
    """
    n = len(counts)
    if quota == "proportional":
        return apportion(counts, batch)
    if quota == "random":
        cuts = np.sort(permutation(key, batch - 1)[: n - 1]) + 1
        return np.diff(np.concatenate([[0], cuts, [batch]]))
    return batch // n + (np.arange(n) < batch % n).astype(np.int64)


@lru_cache(maxsize=64)
def windowed(key: str, shards: tuple[int, ...], window: int) -> Int[np.ndarray, " n"]:
    """A permutation of scans that stays within a few shards at a time, for sources that can only be read in sequence.

    Args:
        key: decides it.
        shards: scans in each shard, in order.
        window: the shards are taken in a permuted order, `window` at a time, and the scans of these are permuted.
    """
    starts = np.cumsum(shards) - np.asarray(shards)
    turn = permutation(key, len(shards))
    parts = []
    for at in range(0, len(shards), window):
        members = np.concatenate([starts[shard] + np.arange(shards[shard]) for shard in turn[at : at + window]])
        parts.append(members[permutation(f"{key}/window{at}", len(members))])
    order = np.concatenate(parts)
    order.flags.writeable = False
    return order
