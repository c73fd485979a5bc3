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

PRINTED = {
    "table1": """
3.25 ± 2.36 16.50 ± 6.77 13.81 ± 5.42 -
5.61 ± 3.52 4.27 ± 3.79 6.73 ± 4.82 -
5.61 ± 3.65 5.22 ± 4.83 3.15 ± 2.81 -
3.30 ± 2.50 4.00 ± 2.78 4.71 ± 3.42 98
3.31 ± 2.49 4.45 ± 3.53 3.05 ± 2.84 100
5.71 ± 3.59 4.05 ± 3.71 3.21 ± 2.94 100
3.24 ± 2.47 4.19 ± 3.50 2.89 ± 2.70 96
3.55 ± 2.68 3.90 ± 3.53 2.62 ± 2.65 -
3.41 ± 2.04 3.79 ± 2.99 4.60 ± 3.47 48
3.41 ± 2.58 4.07 ± 4.12 2.81 ± 2.57 52
3.38 ± 2.64 3.91 ± 3.53 2.82 ± 2.65 50
3.38 ± 2.64 3.90 ± 3.53 2.56 ± 2.47 34
""",
    "table2": """
16.5 ± 5.94 15.5 ± 6.95 100
6.11 ± 3.99 4.44 ± 4.20 58
5.49 ± 3.67 4.37 ± 4.05 53
9.66 ± 5.83 13.6 ± 6.58 100
4.20 ± 2.90 4.29 ± 4.01 56
3.93 ± 2.81 4.04 ± 3.86 52
8.91 ± 5.31 10.4 ± 5.55 100
3.82 ± 2.84 4.39 ± 4.07 57
3.75 ± 2.78 3.99 ± 3.52 50
""",
}
"""Lines of the paper's tables: MAE ± SD at each site, scanner accuracy; in Table 1 before unlearning that of section 4.1."""


@pytest.mark.parametrize("name", PRINTED)
def test_the_papers_cells_are_those_that_it_prints(name: str) -> None:
    """Row by row, site by site."""
    suite = SUITES[name](Arena(sites=SITES))
    for row, printed in zip(suite.rows, PRINTED[name].strip().splitlines(), strict=True):
        *cells, scanner = printed.replace(" ± ", "±").split()
        assert row.paper is not None
        found = [row.paper.mae[site] for site in suite.sites]
        assert found == [tuple(map(float, cell.split("±"))) for cell in cells]
        assert row.paper.scanner == (None if scanner == "-" else float(scanner))


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
