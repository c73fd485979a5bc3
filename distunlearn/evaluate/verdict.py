"""The one line that a probe report comes down to, by rules that are written here and nowhere else."""

from typing import Any

LEVEL = 0.05
"""Of the test whether the scanner can be told, over all sets together (Bonferroni)."""
MOST_LEFT = 0.10
"""Balanced accuracy beyond the null that may remain possible, by the 95% interval, where none was shown."""

COLLAPSED, NOT_SEPARABLE, REDUCED, UNCHANGED = "collapsed", "not separable beyond age", "reduced", "unchanged"
SEPARABLE, UNDECIDED = "separable", "undecided"


def verdict(sets: dict[str, dict[str, Any]], collapse: dict[str, Any]) -> tuple[str, str]:
    """The verdict and a sentence with the figures that it rests on.

    - *collapsed*: the features or predictions say nothing at all (`evaluate.collapse`).
    - *separable*: on some set the true sites are told better than exchanged ones, or worse (p at most `LEVEL` over the
      number of sets, twice that number because both sides are tested). Against an earlier stage this becomes *reduced*
      when the strongest probe lost accuracy and the 95% interval of the loss is above zero, *unchanged* otherwise.
    - *not separable beyond age*: nothing was told, and the upper end of the strongest probe's interval is at most
      `MOST_LEFT` above the null.
    - *undecided*: there are too few scans for either.
    """
    if collapse["reasons"]:
        return (
            COLLAPSED,
            f"Collapsed: {'; '.join(collapse['reasons'])}. That the scanner cannot be told means nothing here.",
        )
    tried = {name: found for name, found in sets.items() if "too_few" not in found}
    if not tried:
        return UNDECIDED, "Undecided: " + "; ".join(f"{name}: {found['too_few']}" for name, found in sets.items()) + "."
    main = main_set(tried)
    figures = _figures(main, tried[main])
    told = [name for name, found in tried.items() if _told(found, len(tried))]
    if told:
        return _separable(told, main, tried, figures)
    left = left_over(tried[main])
    if left > MOST_LEFT:
        more = f"more held-out scans are needed to exclude a leak of up to {100 * left:.0f} points"
        return UNDECIDED, f"Undecided: the scanner was not told beyond age ({figures}), but {more}."
    return (
        NOT_SEPARABLE,
        f"Not separable beyond age: {figures}; a leak above {100 * left:.0f} points is excluded.",
    )


def main_set(tried: dict[str, dict[str, Any]]) -> str:
    """The set whose figures stand for all: the larger of those where age cannot help, else the natural one."""
    fair = {name: sum(found["scans"].values()) for name, found in tried.items() if name != "natural"}
    return max(fair, key=lambda name: fair[name]) if fair else "natural"


def left_over(found: dict[str, Any]) -> float:
    """How far above the null the strongest probe may still be, by its 95% interval.

    A probe that happened to do worse than the null is not taken as evidence for less than nothing: its interval then
    counts from the null.
    """
    best = found["strongest"]
    return float(best["high"] - min(best["value"], found["null"]["mean"]))


def _told(found: dict[str, Any], sets: int) -> bool:
    return bool(min(found["null"]["p"], found["null"]["p_below"]) <= LEVEL / (2 * sets))


def _separable(told: list[str], main: str, tried: dict[str, dict[str, Any]], figures: str) -> tuple[str, str]:
    below = [name for name in told if tried[name]["null"]["p_below"] < tried[name]["null"]["p"]]
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


def _figures(name: str, found: dict[str, Any]) -> str:
    best, floor = found["strongest"], found["floor"]["label_with_error"]
    interval = f"{100 * best['value']:.0f}% [{100 * best['low']:.0f}, {100 * best['high']:.0f}]"
    beside = f"age alone {100 * floor['value']:.0f}%, chance {100 * found['chance']:.0f}%"
    return f"on {name} scans the strongest probe is right on {interval}; {beside}"
