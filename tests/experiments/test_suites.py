"""Every row of every suite is a run that can be built, and selects whom it says."""

from pathlib import Path

import pytest
from tiny_run import tiny

from distunlearn.engine.job import build
from distunlearn.engine.runtime import Runtime
from distunlearn.errors import UserError
from distunlearn.experiments import SUITES, Arena
from distunlearn.experiments.choose import choose
from distunlearn.experiments.table2 import table2

SITES = ("alpha", "beta", "gamma")
ARENA = Arena(sites=SITES, border=40, overlaps=(20,))
"""The planted study's ages are spread over 20 to 80 at every site."""


@pytest.mark.parametrize("name", SUITES)
def test_every_row_builds(planted_shards: Path, name: str) -> None:
    """Each row's configuration finds its scans, its own sites alone, and a network that fits them."""
    base = tiny(planted_shards)
    for row in SUITES[name](ARENA).rows:
        config = row.configure(base, suite=name, seed=3)
        runtime = Runtime(config.engine)
        job = build(config, runtime)
        runtime.close()
        assert job.study.sites == row.sites
        assert all(job.chosen["main"].counts)
        assert config.seed == 3
        assert config.tracking.tags == {"suite": name, "row": row.id, "seed": "3"}


def test_the_tables_have_the_papers_rows() -> None:
    """Table 1 has its eleven rows and the per-domain baseline, Table 2 its nine, each with the paper's cells."""
    first, second = SUITES["table1"](ARENA), SUITES["table2"](Arena(sites=SITES))
    assert len(first.rows) == 12
    assert [row.title for row in first.rows if row.sites == SITES] == [
        "7. Normal: alpha, beta, gamma",
        "7d. Per-domain loss: alpha, beta, gamma",
        "11. Unlearning: alpha, beta, gamma",
    ]
    assert len(second.rows) == 9
    for suite in (first, second):
        assert all(row.paper and set(row.paper.mae) == set(suite.sites) for row in suite.rows)
        assert {contrast.row for contrast in suite.contrasts} <= {row.id for row in suite.rows}


def test_normal_rows_take_as_many_epochs_as_all_stages(planted_shards: Path) -> None:
    """Rows differ in method, not in how long they are trained; the pooled loss belongs to normal rows only."""
    base = tiny(planted_shards)
    rows = {row.training: row.configure(base, suite="table1", seed=0) for row in SUITES["table1"](ARENA).rows}
    assert {sum(stage.epochs for stage in config.stages) for config in rows.values()} == {4}
    assert rows["normal"].stages[0].method.loss == "pooled"  # type: ignore[union-attr]
    assert rows["per_domain"].stages[0].method.loss == "per_domain"  # type: ignore[union-attr]
    assert rows["unlearning"].stages == base.stages


@pytest.mark.parametrize(("method", "among"), [("normal", "biased"), ("naive", "biased"), ("overlap", "overlap")])
def test_table_2_is_biased_as_it_says(planted_shards: Path, method: str, among: str) -> None:
    """The task is learned on the young of one site and the old of the other, the scanner unlearned on X_p or where both are."""
    row = next(row for row in table2(ARENA).rows if row.id == f"20y-{method}")
    config = row.configure(tiny(planted_shards), suite="table2", seed=0)
    runtime = Runtime(config.engine)
    job = build(config, runtime)
    runtime.close()
    table = job.study.table
    main, unlearn = (table.iloc[job.chosen[role].rows] for role in ("main", "unlearn"))
    assert main.loc[main["site"] == "alpha", "age"].max() < 60
    assert main.loc[main["site"] == "beta", "age"].min() > 40
    expected = main if among == "biased" else main[main["age"].between(40, 60)]
    assert set(unlearn["key"]) == set(expected["key"])
    assert len(expected) > 0


def test_unlearning_needs_a_stage_that_unlearns(planted_shards: Path) -> None:
    """A base configuration of normal training alone is refused with a remedy."""
    base = tiny(planted_shards)
    alone = base.model_copy(update={"stages": base.stages[:1]})
    with pytest.raises(UserError, match="no stage that unlearns; give one"):
        SUITES["table1"](ARENA).rows[-1].configure(alone, suite="table1", seed=0)


def test_sites_are_chosen_or_asked_for(planted_shards: Path) -> None:
    """The paper's sites are looked for; where they are not, the line names those that are there."""
    base = tiny(planted_shards, "seed=5")
    suite = choose("table2", base, sites="beta, alpha", arena={"border": 40}, seeds=2)
    assert suite.sites == ("beta", "alpha")
    assert suite.seeds == (5, 6)
    assert choose("leave-one-out", base, sites=None, arena={}, seeds=1).sites == SITES
    with pytest.raises(UserError, match=r"biobank, oasis is no site .*alpha, beta, gamma"):
        choose("table2", base, sites=None, arena={}, seeds=1)
    with pytest.raises(UserError, match="there are table1, table2, leave-one-out"):
        choose("table3", base, sites=None, arena={}, seeds=1)
