"""The one line that a probe report comes down to, by rules that are written here and nowhere else."""

from typing import Any

Found = dict[str, Any]
"""What was found on one set of scans, as `probe.json` holds it."""
Sets = dict[str, Found]

LEVEL = 0.05
"""Of the test whether the scanner can be told, over all sets together (Bonferroni)."""
MOST_LEFT = 0.10
"""Balanced accuracy beyond the null that may remain possible, by the 95% interval, where none was shown."""

COLLAPSED, REDUCED, UNCHANGED, SEPARABLE, UNDECIDED = "collapsed", "reduced", "unchanged", "separable", "undecided"
NOT_SEPARABLE = "not separable beyond"
"""What follows is what may tell the scanner without any scanner in the features: the age, as a rule."""


def verdict(sets: Sets, collapse: Found, labels: str = "age") -> tuple[str, str]:
    """The verdict and a sentence with the figures that it rests on.

    - *separable*: on some set the true sites are told better than exchanged ones, or worse (p at most `LEVEL` over the
      number of sets, both sides tested), or the whole interval of the strongest probe lies below chance. Against an earlier stage this becomes *reduced* when the strongest probe lost
      accuracy and the 95% interval of the loss is below zero, *unchanged* otherwise.
    - *not separable beyond age* (or whatever labels the scanner can be told from): nothing was told, and the upper end of the strongest probe's interval is at most
      `MOST_LEFT` above the null.
    - *collapsed*: it would be one of the better verdicts, but the features or predictions say nothing at all
      (`probing.collapse`), so that there is nothing in them to tell the scanner from either.
    - *undecided*: there are too few scans for any of these.
    """
    name, sentence = _of_the_scanner(sets, labels)
    if not collapse["reasons"]:
        return name, sentence
    reasons = "; ".join(collapse["reasons"])
    if name in {SEPARABLE, UNCHANGED}:
        return name, f"{sentence} Besides, the task is not learned: {reasons}."
    return COLLAPSED, f"Collapsed: {reasons}. That the scanner is told less or not at all means nothing then."


def _of_the_scanner(sets: Sets, labels: str) -> tuple[str, str]:
    tried = {name: found for name, found in sets.items() if "too_few" not in found}
    if not tried:
        return UNDECIDED, "Undecided: " + "; ".join(f"{name}: {found['too_few']}" for name, found in sets.items()) + "."
    main = main_set(tried)
    figures = _figures(main, tried[main], labels)
    told = [name for name, found in tried.items() if _told(found, len(tried))]
    if told:
        return _separable(told, main, tried, figures)
    left = 100 * left_over(tried[main])
    if left > 100 * MOST_LEFT:
        more = f"more held-out scans are needed to exclude a leak of up to {left:.0f} points"
        return UNDECIDED, f"Undecided: the scanner was not told beyond {labels} ({figures}), but {more}."
    return (
        f"{NOT_SEPARABLE} {labels}",
        f"Not separable beyond {labels}: {figures}; a leak above {left:.0f} points is excluded.",
    )


def main_set(tried: Sets) -> str:
    """The set whose figures stand for all: where age cannot help, and with all the sites that can be probed.

    That is the larger of the matched and the travelling one; the natural one where neither holds as many sites.
    """
    most = max(len(found["scans"]) for found in tried.values())
    fair = {name: found["scans"] for name, found in tried.items() if name != "natural" and len(found["scans"]) == most}
    return max(fair, key=lambda name: sum(fair[name].values())) if fair else "natural"


def left_over(found: Found) -> float:
    """How far above the null the strongest probe may still be, by its 95% interval.

    A probe that happened to do worse than the null is not taken as evidence for less than nothing: its interval then
    counts from the null.
    """
    best = found["strongest"]
    return float(best["high"] - min(best["value"], found["null"]["mean"]))


def _told(found: Found, sets: int) -> bool:
    return bool(found["null"]["p"] <= LEVEL / (2 * sets)) or _below(found, sets)


def _below(found: Found, sets: int) -> bool:
    """Told worse than exchanged sites, or, by every probe, than by chance by more than the interval."""
    return bool(found["null"]["p_below"] <= LEVEL / (2 * sets) or found["strongest"]["high"] < found["chance"])


def _separable(told: list[str], main: str, tried: Sets, figures: str) -> tuple[str, str]:
    below = [name for name in told if _below(tried[name], len(tried))]
    hint = (
        f" It is told worse than by chance on {', '.join(below)} scans, which is information too and hints at a leak."
        if below
        else ""
    )
    where = f"told on {', '.join(told)} scans; {figures}"
    change = tried[main].get("change")
    if change is None:
        return SEPARABLE, f"Separable: {where}.{hint}"
    amount = f"{100 * change['value']:+.0f} points [{100 * change['low']:+.0f}, {100 * change['high']:+.0f}] against {tried[main]['before']['stage']}"
    if change["high"] < 0:
        return REDUCED, f"Reduced but still separable: {amount}; {where}.{hint}"
    return UNCHANGED, f"Unchanged (no reduction shown): {amount}; {where}.{hint}"


def _figures(name: str, found: Found, labels: str) -> str:
    best, floor = found["strongest"], found["floor"]["label_with_error"]
    interval = f"{100 * best['value']:.0f}% [{100 * best['low']:.0f}, {100 * best['high']:.0f}]"
    beside = (
        f"{labels} with the model's error tells {100 * floor['value']:.0f}%, chance is {100 * found['chance']:.0f}%"
    )
    where = f"{name} scans" if not found["left_out"] else f"{name} scans of {len(found['scans'])} sites"
    return f"on {where} the strongest probe is right on {interval}; {beside}"
