"""Leave one site out: train on all sites but one, by the per-domain loss and by unlearning, and predict that one.

Not in the paper as a table; its rows 6 and 10 are one case of it. What is compared is the error at the site that was
left out, person by person, and its mean over sites. Beside it stands the measure of the OpenBHB challenge (Dufumier et
al., NeuroImage 2022): external MAE × balanced accuracy^0.3, low is good. Theirs tells the site by one logistic
regression; ours by the strongest of several probes, which can only make the figure larger.
Run it: distunlearn reproduce leave-one-out --shards SHARDS --out OUT --preset demo
"""

from distunlearn.experiments.suite import TRAININGS, Arena, Contrast, Row, Suite, Training, need_sites

COMPARED: tuple[Training, ...] = ("per_domain", "unlearning")


def leave_one_out(arena: Arena) -> Suite:
    """The suite, two rows a site.

    Raises:
        UserError: fewer than three sites, of which two must remain for the scanner to be told.
    """
    need_sites(arena, "leave-one-out", 3)
    rows = tuple(
        Row(
            id=f"{index + 1:02d}-without-{_plain(site)}-{training}",
            title=f"without {site}: {TRAININGS[training]}",
            sites=tuple(name for name in arena.sites if name != site),
            training=training,
        )
        for index, site in enumerate(arena.sites)
        for training in COMPARED
    )
    contrasts = tuple(
        Contrast(row=rows[2 * index + 1].id, against=rows[2 * index].id, sites=(site,))
        for index, site in enumerate(arena.sites)
    )
    return Suite(
        name="leave-one-out", title="Leave one site out", sites=arena.sites, rows=rows, contrasts=contrasts, pooled=True
    )


def _plain(site: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in site)
