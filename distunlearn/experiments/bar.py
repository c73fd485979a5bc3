"""The bar: a recipe after which the scanner cannot be told, at no more error, also at sites that were left out.

Not in the paper. All methods are trained for as long, by the optimiser, schedule and dropout of the recipe, which is
the base configuration. Held to the bar is the recipe, row `beyond`: the upper 95% end of (strongest held-out probe -
probe on the label with the model's own error added) is at most 0.05; the one-sided upper 95% end of the change in task
error against the per-domain loss at most 2%; and the same at sites that were left out, resampling sites
(`experiments.findings`). The per-domain loss is trained twice: plain, as the paper's, and with the recipe's dropout, to
tell what dropout gains from what unlearning costs; the recipe is held against both.
Seeds need splits or studies of their own, so that the spread over them holds that over people; where several seeds
share a split in turn, they are averaged first.
Run it: distunlearn reproduce bar --shards 'SHARDS-{seed}' --out OUT --preset beyond --seeds 5
"""

from collections.abc import Mapping

from distunlearn.experiments.suite import Arena, Bar, Row, Suite, need_sites
from distunlearn.experiments.variant import Variant
from distunlearn.methods import (
    AlignmentConfig,
    ErasureConfig,
    JointConfig,
    ReversalConfig,
    StandardConfig,
    UnlearningConfig,
)
from distunlearn.streaming.selection import Selection

WIDE = 64
"""Features of the rows that do not take the recipe's width."""
RECIPE, BASELINE, LIKE, MATCHED = "beyond", "baseline", "baseline-dropout", "paper-matched"
ALONE = StandardConfig(domain_head=False)
ADVERSARY = {"task": 0.5, "domain": 1.5, "confusion": 0.1}
"""Learning rates of the paper's three updates, as multiples of the recipe's."""

METHODS: Mapping[str, tuple[str, Variant]] = {
    BASELINE: ("per-domain loss", Variant(features=WIDE, method=ALONE, plain=True)),
    LIKE: ("per-domain loss with dropout", Variant(features=WIDE, method=ALONE)),
    "pooled": (
        "pooled loss",
        Variant(features=WIDE, method=StandardConfig(loss="pooled", domain_head=False)),
    ),
    "baseline-narrow": ("per-domain loss, narrow", Variant(method=ALONE)),
    "paper": (
        "paper's three updates",
        Variant(features=WIDE, method=UnlearningConfig(), rates=ADVERSARY, after_standard=True),
    ),
    MATCHED: (
        "paper's three updates, X_u matched",
        Variant(features=WIDE, method=UnlearningConfig(), rates=ADVERSARY, after_standard=True),
    ),
    "paper-narrow": (
        "paper's three updates, narrow",
        Variant(method=UnlearningConfig(), rates=ADVERSARY, after_standard=True),
    ),
    "joint": (
        "joint",
        Variant(features=WIDE, method=JointConfig(domain_steps=3, warm_up=0.1), after_standard=True),
    ),
    "joint-narrow": ("joint, narrow", Variant(method=JointConfig(domain_steps=3, warm_up=0.1), after_standard=True)),
    "reversal": ("gradient reversal", Variant(features=WIDE, method=ReversalConfig(), after_standard=True)),
    "reversal-narrow": ("gradient reversal, narrow", Variant(method=ReversalConfig(), after_standard=True)),
    "erasure": ("LEACE", Variant(features=WIDE, method=ErasureConfig(), after_standard=True)),
    "mmd-narrow": ("MMD, narrow", Variant(method=AlignmentConfig(kind="mmd"))),
    "coral-narrow": ("CORAL, narrow", Variant(method=AlignmentConfig(kind="coral"))),
    "beyond-wide": ("beyond, wide", Variant(features=WIDE)),
    RECIPE: ("beyond", Variant()),
}
"""By the rows' ids, the baseline first and the recipe last. *Narrow*: the recipe's feature layer; *wide*: `WIDE`."""
MOST_TO_MATCH = 4
"""Sites: of more there is hardly an age that all have, so that X_u cannot be matched."""


def bar(arena: Arena) -> Suite:
    """The suite: a row a method, and the recipe and its baselines without each group of sites.

    Raises:
        UserError: fewer than three sites, of which two must remain for the scanner to be told.
    """
    need_sites(arena, "bar", 3)
    rows = tuple(_row(name, arena) for name in METHODS if name != MATCHED or len(arena.sites) <= MOST_TO_MATCH)
    groups = min(arena.groups, len(arena.sites))
    without = [
        tuple(_row(name, arena, out=place, groups=groups) for name in (RECIPE, BASELINE, LIKE))
        for place in range(groups)
    ]
    return Suite(
        name="bar", title="The bar", sites=arena.sites,
        rows=(*rows, *(row for of_group in without for row in of_group)), contrasts=(),
        bar=Bar(
            recipe=RECIPE, baselines=(BASELINE, LIKE),
            left_out=tuple(tuple(row.id for row in of_group) for of_group in without),
        ),
    )  # fmt: skip


def _row(name: str, arena: Arena, *, out: int | None = None, groups: int = 1) -> Row:
    """A method's row; with `out`, without every so many-th site, on as many seeds as the arena says."""
    title, variant = METHODS[name]
    here = tuple(site for place, site in enumerate(arena.sites) if out is None or place % groups != out)
    gone = [site for site in arena.sites if site not in here]
    return Row(
        id=name if out is None else f"{name}-without-{out + 1}",
        title=title if out is None else f"{title}, without {', '.join(gone)}",
        sites=here, training="variant", variant=variant,
        unlearn=Selection(rule="matched", label=arena.label) if name == MATCHED else "base",
        repeats=None if out is None else arena.repeats,
    )  # fmt: skip
