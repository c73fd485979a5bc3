"""What the figures of training say of its health, in plain sentences: nothing is measured for them that is not there.

They are hints, not evidence: the head in the loop is no probe (docs/reproduce.md).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from distunlearn.probing.collapse import LEAST_SPREAD
from distunlearn.probing.validation import as_error

Line = Mapping[str, Any]
"""One line of metrics.jsonl."""
Epoch = dict[str, float]
"""Means of the figures of one epoch."""

FIRST = 3
"""Epochs of a stage before its lack of effect is remarked on."""
STARVED, AHEAD = 0.95, 0.25
"""Domain loss, as a share of that of a head that knows nothing."""
EFFECT = 0.02
"""Change of the confusion loss, as a share, or of the head's accuracy that counts as an effect."""
COST = 0.2
"""Rise of the validation error, as a share, that is remarked on."""


def findings(lines: Sequence[Line], *, stage: str, sites: int, watch: str = "val/mae") -> dict[str, str]:
    """What is to be said after an epoch of a stage, by its kind; nothing where all seems well.

    Args:
        lines: of metrics.jsonl so far, earlier stages too.
        stage: the stage in progress.
        sites: how many there are to tell.
        watch: the figure of validation that falls as the task is learned.
    """
    now = [epoch for name, epoch in _epochs(lines) if name == stage]
    before = [epoch for name, epoch in _epochs(lines) if name != stage]
    if not now:
        return {}
    kinds: dict[str, Callable[[], str]] = {
        "head": lambda: _head(now, sites),
        "effect": lambda: _effect(now, sites),
        "collapse": lambda: _collapse([*before, *now], len(now)),
        "cost": lambda: _cost(before, now[-1], watch),
    }
    return {kind: said for kind, find in kinds.items() if (said := find())}


def _epochs(lines: Sequence[Line]) -> list[tuple[str, Epoch]]:
    """Stage and mean figures of every epoch, in their order."""
    gathered: dict[tuple[str, int], dict[str, list[float]]] = {}
    for line in lines:
        epoch = gathered.setdefault((str(line["stage"]), int(line["epoch"])), {})
        for name, value in line.items():
            if "/" in name:
                epoch.setdefault(name, []).append(float(value))
    return [(stage, {name: fmean(values) for name, values in epoch.items()}) for (stage, _), epoch in gathered.items()]


def _head(epochs: Sequence[Epoch], sites: int) -> str:
    """Is the domain head ahead of the encoder, or starved, while it is being confused?"""
    now = epochs[-1]
    if "train/confusion" not in now or "train/domain" not in now:
        return ""
    domain, nothing = now["train/domain"], math.log(sites)
    beside = f"domain loss {domain:.2f}; a head that knows nothing has {nothing:.2f}"
    if domain < AHEAD * nothing:
        return f"the domain head is far ahead of the encoder ({beside}): raise the learning rate of the confusion, or lower domain_steps"
    if domain < STARVED * nothing or len(epochs) == 1:  # a head needs an epoch to learn
        return ""
    fresh = now.get("val/scanner_accuracy")
    if fresh is None:
        return f"the domain head knows nothing ({beside}): the scanner is gone or the head is starved; choose=scanner would show a fresh probe"
    if fresh > (1 + 1 / sites) / 2:
        return f"the domain head is starved ({beside}), for a fresh probe tells {100 * fresh:.0f}%: raise domain_steps or its learning rate"
    return ""


def _effect(now: Sequence[Epoch], sites: int) -> str:
    """Is unlearning doing anything?"""
    begun = [epoch for epoch in now if "train/confusion" in epoch and "val/domain_head" in epoch]
    if len(begun) < FIRST or begun[-1]["val/domain_head"] < 1.5 / sites:
        return ""
    first, last = begun[0], begun[-1]
    confused = last["train/confusion"] < (1 - EFFECT) * first["train/confusion"]
    lost = last["val/domain_head"] < first["val/domain_head"] - EFFECT
    if confused or lost:
        return ""
    told = f"{100 * last['val/domain_head']:.0f}%, {100 * first['val/domain_head']:.0f}% at first"
    return f"unlearning shows no effect after {len(begun)} epochs (the head in the loop tells {told}): raise the learning rate of the confusion"


def _collapse(epochs: Sequence[Epoch], of_stage: int) -> str:
    """Do predictions become the same for everybody?"""
    spread = [epoch["val/spread"] for epoch in epochs if "val/spread" in epoch]
    if not spread or spread[-1] >= LEAST_SPREAD:
        return ""
    share = f"within a site, predictions vary by {100 * spread[-1]:.0f}% of what the targets do"
    if max(spread) >= LEAST_SPREAD:
        return f"the network is collapsing: {share}, {100 * max(spread):.0f}% at best"
    return f"the task is not learned yet: {share}" if of_stage >= FIRST else ""


def _cost(before: Sequence[Epoch], now: Epoch, watch: str) -> str:
    """Does the stage cost the task more than it may?"""
    earlier = [epoch[watch] for epoch in before if watch in epoch]
    if not earlier or watch not in now or as_error(watch, now[watch]) <= (1 + COST) * as_error(watch, earlier[-1]):
        return ""
    return f"unlearning costs the task: {watch} was {earlier[-1]:.3g} before the stage and is {now[watch]:.3g}"
