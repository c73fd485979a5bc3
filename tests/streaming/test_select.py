"""Who is in X_p and X_u follows from rules over labels, and never from another split than the one asked for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distunlearn.errors import UserError
from distunlearn.streaming.chosen import Chosen
from distunlearn.streaming.manifest import Study, read_study
from distunlearn.streaming.select import select
from distunlearn.streaming.selection import Selection

Folder = Callable[..., Path]


def ages(chosen: Chosen, site: str) -> list[float]:
    """The ages of a site's chosen scans, sorted."""
    table = chosen.study.table.iloc[chosen.rows]
    return sorted(table["age"][table["site"] == site])


@pytest.fixture
def study(study_folder: Folder) -> Study:
    """Biobank 45 to 74, OASIS 20 to 89 with a gap, each with a val and a test split of every age."""
    every = [float(age) for age in range(20, 90)]
    young_and_old = [float(age) for age in (*range(20, 40), *range(60, 90))]
    splits = {"val": every, "test": every, "travelling": every}
    return read_study(
        study_folder(
            biobank={"train": [float(age) for age in range(45, 75)], **splits},
            oasis={"train": [*young_and_old, None], **splits},
        )
    )


def test_a_scan_without_the_target_is_left_out_of_the_task_only(study: Study) -> None:
    """X_p needs the label that is learnt; X_u does not."""
    assert select(study, Selection(), split="train", needs=("age",)).counts == (30, 50)
    unlearn = select(study, Selection(among="study"), split="train")
    assert unlearn.counts == (30, 51)
    assert (
        select(study, Selection(), split="train", needs=("age",)).description[-1]
        == "oasis: left out for want of a label: 1"
    )


@pytest.mark.parametrize("rule", ["all", "overlap", "matched"])
def test_only_the_split_asked_for_is_chosen(study: Study, rule: str) -> None:
    """No scan of validation, test or travelling people can be in a role, whatever the rule."""
    chosen = select(study, Selection(rule=rule, among="study"), split="train")
    assert set(study.table["split"].iloc[chosen.rows]) == {"train"}


def test_the_overlap_is_where_all_sites_have_scans(study: Study) -> None:
    """Computed from the lowest and highest label of each site, ends included, and told a site."""
    chosen = select(study, Selection(rule="overlap"), split="train")
    assert chosen.counts == (30, 15)
    assert (ages(chosen, "oasis")[0], ages(chosen, "oasis")[-1]) == (60, 74)
    assert chosen.description == (
        "biobank: 30 scans, age 45 to 74",
        "oasis: 15 scans, age 45 to 74",
        "oasis: left out for want of a label: 1",
    )
    assert chosen.warnings == ("oasis: fewer than 20 scans; what is learnt from so few is them",)
    given = select(study, Selection(rule="overlap", bounds=(60, 65)), split="train")
    assert given.counts == (6, 6)


def test_the_overlap_is_that_of_the_task(study: Study) -> None:
    """With a biased X_p (table 2 of the paper), the overlap is between what X_p holds of each site."""
    biased = Selection(where_site={"biobank": {"age": "<65"}, "oasis": {"age": ">60"}})
    main = select(study, biased, split="train", needs=("age",))
    assert (ages(main, "biobank")[-1], ages(main, "oasis")[0]) == (64, 61)
    unlearn = select(study, Selection(rule="overlap"), split="train", within=main)
    assert unlearn.counts == (4, 4)
    assert np.isin(unlearn.rows, main.rows).all()


def test_an_empty_overlap_is_refused(study: Study) -> None:
    """The ranges of the sites are told, and nothing is trained."""
    apart = Selection(where_site={"biobank": {"age": "<60"}, "oasis": {"age": ">=60"}})
    main = select(study, apart, split="train")
    with pytest.raises(UserError, match="do not overlap in age \\(biobank 45 to 59; oasis 60 to 89\\)"):
        select(study, Selection(rule="overlap"), split="train", within=main)
    with pytest.raises(UserError, match="no scan of site oasis in split train"):
        select(study, Selection(rule="overlap", bounds=(45, 50)), split="train")
    with pytest.raises(UserError, match="no stratum of age has scans of all sites"):
        select(
            study,
            Selection(rule="matched", bounds=(20, 59), width=20, where_site={"biobank": {"age": ">45"}}),
            split="train",
        )


def test_a_site_can_be_held_out_entirely(study: Study) -> None:
    """Training on some sites leaves no scan of the others in the role."""
    chosen = select(study, Selection(sites=("oasis",)), split="train")
    assert chosen.counts == (0, 51)
    assert chosen.description[0] == "biobank: held out"
    assert set(chosen.domain) == {1}


@pytest.mark.parametrize(
    ("condition", "count"),
    [("<50", 5), ("<=50", 6), (">= 70", 5), (">70", 4), ("50..52", 3), (50, 1), ((50, "51"), 2), ("!=50", 29)],
)
def test_conditions_on_numbers(study: Study, condition: object, count: int) -> None:
    """Comparisons, ranges with both ends, single values and lists choose what they say."""
    chosen = select(study, Selection.read({"sites": ["biobank"], "where": {"age": condition}}, "test"), split="train")
    assert chosen.counts == (count, 0)


@pytest.mark.parametrize(("condition", "count"), [("F", 15), ("!=F", 15), (("F", "M"), 30)])
def test_conditions_on_text(study: Study, condition: object, count: int) -> None:
    """Text is compared as a whole."""
    chosen = select(study, Selection.read({"sites": ["biobank"], "where": {"sex": condition}}, "test"), split="train")
    assert chosen.counts == (count, 0)


def test_a_missing_label_meets_no_condition(study: Study) -> None:
    """Neither a comparison nor its opposite chooses a scan whose label is missing."""
    lower = select(study, Selection(where={"age": "<60"}, sites=("oasis",)), split="train")
    upper = select(study, Selection(where={"age": ">=60"}, sites=("oasis",)), split="train")
    assert lower.counts[1] + upper.counts[1] == 50


def test_an_unlabelled_data_set_in_the_same_shards_is_unlearned_on_alone(study_folder: Folder) -> None:
    """X_u can be those scans, and no others, that lack the label of the task: two data sets a site, one without ages."""
    study = read_study(study_folder(oasis=[50.0] * 4 + [None] * 3, biobank=[60.0] * 5 + [None] * 2))
    main = select(study, Selection(), split="train", needs=("age",))
    rule = Selection.read({"rule": "where", "where": {"age": "n/a"}, "among": "study"}, "data.unlearn")
    unlearn = select(study, rule, split="train", within=main)
    assert (main.counts, unlearn.counts) == ((5, 4), (2, 3))
    assert not set(main.rows) & set(unlearn.rows)
    labelled = select(study, Selection(where={"age": "!=n/a"}), split="train")
    assert labelled.counts == main.counts


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rule": "where"}, "needs a condition"),
        ({"where": {"age": "<old"}}, "'old' is no number"),
        ({"bounds": [70, 60]}, "upside down"),
        ({"rule": "some"}, "rule"),
        ({"wear": {}}, "unknown key 'wear'"),
    ],
)
def test_a_wrong_selection_is_refused_when_it_is_read(values: dict[str, object], message: str) -> None:
    """The configuration is checked before any data are."""
    with pytest.raises(UserError, match=message):
        Selection.read(values, "unlearn")


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(sites=("oassis",)), "oassis is no site of this study \\(known: biobank, oasis\\)"),
        (Selection(where={"iq": ">100"}), "no scan has the label 'iq' \\(known: age, sex\\)"),
        (Selection(where={"sex": "<3"}), "compares numbers, but the label holds text"),
        (Selection(rule="overlap", label="sex"), "holds text, and an overlap needs numbers"),
        (Selection(where={"age": ">200"}), "no scan of site biobank, oasis in split train is left"),
    ],
)
def test_a_selection_that_does_not_fit_the_study_is_refused(study: Study, selection: Selection, message: str) -> None:
    """Names that do not exist and rules that leave nothing are answered in one line."""
    with pytest.raises(UserError, match=message):
        select(study, selection, split="train")


def test_matched_scans_are_sorted_into_strata_that_every_site_has(study: Study) -> None:
    """Steps of the label's unit within the overlap; a stratum that a site lacks is left out at all of them."""
    chosen = select(study, Selection(rule="matched", bounds=(50, 79), width=10), split="train")
    assert chosen.strata == ((10, 5), (10, 10))  # 60 to 69 and 70 to 79; OASIS has nobody from 50 to 59
    assert chosen.counts == (15, 20)
    age = study.table["age"].to_numpy()[chosen.rows]
    assert [(part.min(), part.max()) for part in np.split(age, [10, 15, 25])] == [
        (60, 69),
        (70, 74),
        (60, 69),
        (70, 79),
    ]
    assert chosen.description[0] == "biobank: 15 scans, age 50 to 79 matched in steps of 10"


def test_matched_batches_have_the_same_ages_at_every_site(study: Study) -> None:
    """What the rule is for: batch for batch the sites' age distributions agree to within a stratum."""
    chosen = select(study, Selection(rule="matched", width=3), split="train")
    plan = chosen.plan(12, seed=0, role="unlearn")
    for step in range(plan.steps_per_epoch):
        rows = chosen.locate(*plan.samples(step))
        age, domain = study.table["age"].to_numpy()[rows], study.table["domain"].to_numpy()[rows]
        assert np.abs(np.sort(age[domain == 0]) - np.sort(age[domain == 1])).max() < 3


def test_a_label_of_text_is_matched_value_by_value(study: Study) -> None:
    """The same share of women and men at every site."""
    chosen = select(study, Selection(rule="matched", label="sex"), split="train")
    assert chosen.strata == ((15, 15), (26, 25))


def test_federated_rules_need_bounds(study_folder: Folder) -> None:
    """No site's lowest and highest age may cross, so a rank that does not hold all sites cannot compute an overlap."""
    folder = study_folder(oasis=[50.0] * 3, biobank=[60.0] * 4)
    study = read_study(folder, ["biobank", "oasis"], hosted=["oasis"])
    with pytest.raises(UserError, match="give bounds for age"):
        select(study, Selection(rule="overlap"), split="train")
    with pytest.raises(UserError, match="cannot be matched in federated placement"):
        select(study, Selection(rule="matched", label="sex"), split="train")


def test_federated_ranks_know_counts_and_nothing_else(study_folder: Folder) -> None:
    """A rank that hosts one site ends with the same counts as one that holds all, its own rows, and one integer sum."""
    folder = study_folder(oasis=[50.0, 62.0, 63.0, 71.0], biobank=[60.0, 61.0, 66.0])
    sites, rule = ["biobank", "oasis"], Selection(rule="matched", bounds=(60, 69), width=5)
    whole = select(read_study(folder, sites), rule, split="train")
    told: list[np.ndarray] = []
    alone = {}
    for site in sites:
        study = read_study(folder, sites, hosted=[site])
        shares = iter(([[2, 1], [2, 0]], [[0], [0]]))
        alone[site] = select(
            study,
            rule,
            split="train",
            share=lambda counts, shares=shares: (told.append(counts), np.array(next(shares)))[1],
        )
    assert whole.counts == alone["biobank"].counts == alone["oasis"].counts == (2, 2)
    assert whole.strata == alone["biobank"].strata == ((2,), (2,))
    assert told[0].tolist() == [[2, 1], [0, 0]]
    assert alone["oasis"].study.table["site"].unique().tolist() == ["oasis"]
    assert whole.plan(4, seed=0, role="u").digest() == alone["oasis"].plan(4, seed=0, role="u").digest()
