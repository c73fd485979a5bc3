"""Every probe on every set of scans, with its floors and its null: the table behind a verdict."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from distunlearn.report import html
from distunlearn.report.results import Row, percent

Found = dict[str, Any]
"""What was found on one set, as `probe.json` holds it."""

BELOW: dict[str, Callable[[Found], str]] = {
    "chance": lambda found: f"{100 * found['chance']:.0f} ({len(found['scans'])} sites)",
    "strongest": lambda found: percent(found["strongest"]),
    "age alone": lambda found: percent(found["floor"]["label"]),
    "age with the model's error": lambda found: percent(found["floor"]["label_with_error"]),
    "strongest beyond that": lambda found: percent(found["excess"]),
    "stage before": lambda found: percent(found["before"]) if "before" in found else "–",
    "sites exchanged: told": lambda found: (
        f"{100 * found['null']['mean']:.0f} (95%: below {100 * found['null']['high']:.0f})"
    ),
    "true sites: told": lambda found: f"{100 * found['null']['observed']:.0f} (p = {found['null']['p']:.3f})",
    "fitted on training scans, which flatters": lambda found: (
        percent(found["fitted_on_training"]) if found.get("fitted_on_training") else "–"
    ),
    "scans": lambda found: f"{sum(found['scans'].values())}",
}
"""The lines below the probes."""


COLLAPSE = {
    "feature_variation": "features vary by {:.0%} of their size",
    "effective_rank": "effective rank {:.1f}",
    "prediction_spread": "within a site predictions vary by {:.0%} of what the targets do",
    "error": "error {:.2f}",
    "constant_error": "one answer for everybody {:.2f}",
}
"""How the figures of the collapse check are said."""


def probe_tables(rows: Sequence[Row]) -> str:
    """One table a row of results; that of the last row is open."""
    probed = [row for row in rows if row.probe]
    return "".join(
        html.folded(
            f"All probes: {row.name}",
            _table(row, row.probe) + html.bullets(_besides(row, row.probe)),
            is_open=row is probed[-1],
        )
        for row in probed
        if row.probe
    )


def _table(row: Row, probe: dict[str, Any]) -> str:
    sets: dict[str, Found] = probe["sets"]
    names = list(dict.fromkeys(name for found in row.tried.values() for name in found["probes"]))
    told = [
        [
            escape(name),
            *(_shaded(found.get("probes", {}).get(name), found.get("chance", 0.0)) for found in sets.values()),
        ]
        for name in names
    ]
    below = [
        [f"<i>{escape(name)}</i>", *("–" if "too_few" in found else escape(show(found)) for found in sets.values())]
        for name, show in BELOW.items()
    ]
    return html.table(["probe", *sets], [*told, *below], _caption(sets, probe["obtained"]))


def _besides(row: Row, probe: dict[str, Any]) -> Iterator[str]:
    """What scanners make of the same person, and whether features and predictions say anything at all."""
    if seen := row.travellers:
        agree = (
            f"The same {seen['people']} people on every scanner: predictions agree by ICC(2,1) {seen['agreement']:.2f}"
        )
        far = seen["feature_distance"]
        yield (
            f"{agree}."
            if far is None
            else (
                f"{agree}; features of one person on two scanners are {far:.2f} times as far apart as those of two people on one "
                "(0: the scanner changes nothing; 1: it is like another person)."
            )
        )
    check = probe["collapse"]
    said = "; ".join(check["reasons"]) or "nothing is wrong"
    figures = [words.format(check[name]) for name, words in COLLAPSE.items() if check.get(name) is not None]
    yield f"Collapse check: {said}" + (f" ({', '.join(figures)})." if figures else ".")


def _caption(sets: Mapping[str, Found], how: Mapping[str, Any]) -> str:
    chosen = "without choice of settings (quick form)" if how["quick"] else "its settings chosen in inner folds"
    return (
        f"Balanced accuracy in percent; chance is one over the number of sites. Frozen features of {' and '.join(how['splits'])} scans; each scan is told by a probe that "
        f"was fitted on other people, {chosen}. Intervals: 95%, {how['resamples']} resamples of people; that of the strongest allows for its having been chosen. Sites exchanged: the same ridge "
        f"probes after exchanging sites among people of the same age, {how['permutations']} times. Fitted on training scans: the same scans told by quick probes that learned from the "
        f"encoder's own training scans, of which it may have unlearned the site by heart; that is no evidence and stands here for comparison. Seed {how['seed']}. "
        + " ".join(f"{name[:1].upper()}{name[1:]}: {_who(found)}." for name, found in sets.items())
    )


def _who(found: Found) -> str:
    """Which scans a set holds, how many of each site, and which sites it lacks."""
    if "too_few" in found:
        return str(found["too_few"])
    counts = ", ".join(f"{site} {count}" for site, count in found["scans"].items())
    lacking = f"; too few people of {', '.join(found['left_out'])}" if found["left_out"] else ""
    return f"{found['how']} ({counts}{lacking})"


def _shaded(interval: Mapping[str, float] | None, chance: float) -> str:
    """A cell that is the darker, the further from chance the probe is."""
    if interval is None:
        return "–"
    strength = min(abs(interval["value"] - chance) / (1 - chance), 1.0)
    return f'<td style="background:rgba(213,94,0,{0.6 * strength:.2f})">{escape(percent(interval))}</td>'
