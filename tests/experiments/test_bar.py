"""The bar on fabricated runs whose truth is known: what is met, what is missed, and what is not shown."""

import json
import runpy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from distunlearn.config import load
from distunlearn.errors import UserError
from distunlearn.evaluate.summary import summarise
from distunlearn.experiments import SUITES, Arena, over_splits, table
from distunlearn.experiments.choose import choose
from distunlearn.experiments.findings import Finding, changes_at_left_out, findings
from distunlearn.experiments.intervals import student
from distunlearn.experiments.over_splits import ONE_SIDED
from distunlearn.experiments.reproduce import folder_of, write_configurations
from distunlearn.experiments.standing import standings
from distunlearn.experiments.suite import Suite
from distunlearn.metrics import Interval
from distunlearn.run_folder import write_json

SITES = ("alpha", "beta", "gamma")
SEEDS = (0, 1, 2, 3)
PEOPLE = 40
"""Of each site; half are test people."""
ERRORS = {"baseline": 4.0, "baseline-dropout": 3.2, "beyond": 4.0, "paper": 5.0}
"""Of every person, so that the change of a seed is known exactly."""
EXCESS = {"baseline": 0.40, "baseline-dropout": 0.40, "beyond": 0.01, "paper": 0.30}
LEFT_OUT = {"alpha": 1.10, "beta": 1.00, "gamma": 0.90}
"""The recipe's error at the site that was left out, as a share of the baseline's."""


def write_stage(run: Path, errors: dict[str, float], excess: float, people: Mapping[str, int] | None = None) -> None:
    """A finished run of one stage: predictions with these errors at each site, and what probes found."""
    stage = run / "stage"
    stage.mkdir(parents=True)
    rows = [
        {
            "key": f"{site}{number}", "site": site, "split": ["train", "test"][number % 2], "subject": f"s{number}",
            "target": 50.0 + number, "prediction": 50.0 + number + error, "age": 50.0 + number,
        }
        for site, error in errors.items() for number in range((people or {}).get(site, PEOPLE))
    ]  # fmt: skip
    features = np.random.default_rng(0).normal(size=(len(rows), 4)).astype(np.float32)
    np.savez(stage / "features.npz", key=np.array([row["key"] for row in rows]), features=features)
    pd.DataFrame(rows).to_csv(stage / "predictions.tsv", sep="\t", index=False)
    scans = pd.DataFrame(rows)[["key", "site", "split", "age"]]
    scans.assign(main=1, unlearn=1).to_csv(run / "scans.tsv", sep="\t", index=False)
    told = {
        "scans": dict.fromkeys(errors, 20), "chance": 0.3, "strongest": {"value": 0.4 + excess},
        "floor": {"label_with_error": {"value": 0.4}}, "excess": {"value": excess},
    }  # fmt: skip
    # On natural scans the label helps: what is found there must not stand for all.
    sets = {"natural": told | {"excess": {"value": 0.9}}, "matched": told, "travelling": {"too_few": "none"}}
    write_json(stage / "probe.json", {"sets": sets})
    (run / "config.yaml").write_text(yaml.safe_dump({"stages": [{"name": "stage"}]}))
    line = {"stage": "stage", "time/seconds_per_step": 0.02}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    write_json(run / "STATUS.json", {"state": "finished"})
    summarise(stage)
    write_json(run / "row.json", {})


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rows on four seeds, a little apart in known ways, and every site left out on the first seed."""
    folder = tmp_path_factory.mktemp("bar")
    suite = SUITES["bar"](Arena(sites=SITES)).model_copy(update={"seeds": SEEDS})
    write_json(folder / "suite.json", suite.model_dump(mode="json"))
    rows = {row.id: row for row in suite.rows}
    for seed in SEEDS:
        away = (seed - 1.5) / 100
        for name, error in ERRORS.items():
            own = error * (1 + away) if name == "beyond" else error
            write_stage(folder_of(folder, rows[name], seed), dict.fromkeys(SITES, own), EXCESS[name] + away)
    assert suite.bar is not None
    for ours, theirs, like in suite.bar.left_out:
        gone = next(site for site in SITES if site not in rows[ours].sites)
        write_stage(folder_of(folder, rows[ours], 0), dict.fromkeys(SITES, 9.0) | {gone: 6 * LEFT_OUT[gone]}, 0.0)
        write_stage(folder_of(folder, rows[theirs], 0), dict.fromkeys(SITES, 3.0) | {gone: 6.0}, 0.0)
        write_stage(folder_of(folder, rows[like], 0), dict.fromkeys(SITES, 3.0) | {gone: 3.0}, 0.0)
    return folder


@pytest.fixture(scope="module")
def suite(out: Path) -> Suite:
    """The suite of that folder."""
    return table.read(out).suite


def test_rows_stand_where_they_were_put(out: Path, suite: Suite) -> None:
    """Errors, changes and excesses are those that were fabricated, on matched scans, with Student's intervals."""
    assert suite.bar is not None
    found = {each.row.id: each for each in standings(out, suite, suite.bar)}
    assert set(found) == set(ERRORS)
    beyond, paper = found["beyond"], found["paper"]
    assert (paper.change.value, paper.change.low, paper.change.high) == pytest.approx((25, 25, 25))
    changes = [-1.5, -0.5, 0.5, 1.5]
    expected = student(changes, ONE_SIDED)
    assert (beyond.change.value, beyond.change.high) == pytest.approx((0, expected.high), abs=1e-9)
    assert expected.high == pytest.approx(2.353 * np.std(changes, ddof=1) / 2, rel=1e-3)  # one-sided t, 3 degrees
    assert (beyond.excess.value, beyond.probe, beyond.floor) == pytest.approx((0.01, 0.41, 0.4), abs=1e-2)
    assert beyond.on == "matched scans of 3 sites"
    assert (beyond.milliseconds, beyond.seeds) == (20, 4)


def test_people_and_sites_are_weighed_as_said(tmp_path: Path) -> None:
    """With sites of unlike size the mean over people is not the mean over sites, nor is the change of either."""
    suite = SUITES["bar"](Arena(sites=SITES)).model_copy(update={"seeds": (0,)})
    rows = {row.id: row for row in suite.rows}
    people = dict(zip(SITES, (60, 20, 20), strict=True))
    write_stage(folder_of(tmp_path, rows["beyond"], 0), dict(zip(SITES, (1.0, 6.0, 2.0), strict=True)), 0.0, people)
    write_stage(folder_of(tmp_path, rows["baseline"], 0), dict.fromkeys(SITES, 2.0), 0.0, people)
    assert suite.bar is not None
    beyond = next(each for each in standings(tmp_path, suite, suite.bar) if each.row.id == "beyond")
    assert (beyond.error, beyond.error_of_sites) == pytest.approx((2.2, 3.0))
    assert (beyond.change.value, beyond.change_of_sites.value) == pytest.approx((10, 50))


def test_seeds_of_one_split_are_averaged_first(tmp_path: Path) -> None:
    """Of four seeds on two splits: intervals are over the two means, whatever the seeds of a split are apart by."""
    suite = SUITES["bar"](Arena(sites=SITES)).model_copy(update={"seeds": (7, 8, 9, 10), "splits": (7, 8)})
    assert [suite.split(seed) for seed in suite.seeds] == [7, 8, 7, 8]
    rows = {row.id: row for row in suite.rows}
    for seed, error, excess in ((7, 4.0, 0.00), (9, 5.0, 0.04), (8, 3.0, 0.02), (10, 7.0, 0.06)):
        write_stage(folder_of(tmp_path, rows["beyond"], seed), dict.fromkeys(SITES, error), excess)
        write_stage(folder_of(tmp_path, rows["baseline"], seed), dict.fromkeys(SITES, 4.0), 0.4)
    assert suite.bar is not None
    beyond = next(each for each in standings(tmp_path, suite, suite.bar) if each.row.id == "beyond")
    assert beyond.seeds == 4
    assert beyond.change.high == pytest.approx(student([12.5, 25.0], ONE_SIDED).high)
    assert beyond.excess.high == pytest.approx(student([0.02, 0.04]).high)


def test_left_out_sites_are_those_that_were_left_out(out: Path, suite: Suite) -> None:
    """Each site's change is of the run that lacked it, over all its people; the other sites' errors do not count."""
    assert suite.bar is not None
    found = changes_at_left_out(out, suite, suite.bar)
    assert found["baseline"] == pytest.approx({"alpha": 10, "beta": 0, "gamma": -10})
    assert found["baseline-dropout"] == pytest.approx({"alpha": 120, "beta": 100, "gamma": 80})


def test_at_a_left_out_site_everybody_counts(out: Path, suite: Suite) -> None:
    """Nobody there was trained on, whatever their split; elsewhere test people alone count."""
    assert suite.bar is not None
    name = suite.bar.left_out[0][0]
    row = next(row for row in suite.rows if row.id == name)
    (gone,) = set(SITES) - set(row.sites)
    runs = over_splits.runs_of(out, suite, row)
    rules = (over_splits.anybody, over_splits.held_out)
    assert [len(over_splits.errors_of(runs, rule)[0].loc[gone]) for rule in rules] == [PEOPLE, PEOPLE // 2]


def test_each_prediction_is_read_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many baselines the recipe is held against: a large suite's table is made in seconds."""
    honest, read = over_splits.read_predictions, []
    monkeypatch.setattr(over_splits, "read_predictions", lambda stage: read.append(stage) or honest(stage))
    table.read(out)
    assert len(read) == len(set(read)) == len(list(out.glob("*/stage")))


def test_the_verdict_is_what_was_planted(out: Path, suite: Suite) -> None:
    """Scanner and error are met, three sites show nothing; that a baseline with dropout is better is said."""
    assert suite.bar is not None
    rows, away = standings(out, suite, suite.bar), changes_at_left_out(out, suite, suite.bar)
    found = findings(suite, suite.bar, rows, away)
    assert [each.says for each in found] == ["met", "met", "not shown", "missed", "missed"]
    assert found[3].what == "change in task error against per-domain loss with dropout, %"
    assert found[3].figure.value == pytest.approx(25)
    page = table.write(table.read(out)).read_text()
    assert "The bar" in page
    assert "not shown" in (out / "table.md").read_text()
    assert pd.read_csv(out / "bar.tsv", sep="\t").set_index("row").loc["paper", "change"] == pytest.approx(25)


def test_rows_without_a_figure_are_not_shown(out: Path, suite: Suite) -> None:
    """Methods that nobody trained stand in no line of the table; nothing but those is left out."""
    titles = {row.id: row.title for row in suite.rows}
    shown = {line[0] for line in table.read(out).rows(lambda figure, _: figure)}
    assert {titles[name] for name in ERRORS} < shown
    assert len(shown) == len(ERRORS) + 3 * len(SITES)


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(-1, 1.9, "met"), (-1, 2.1, "not shown"), (2.1, 5, "missed"), (np.nan, np.nan, "not shown")],
)
def test_a_finding_is_met_missed_or_not_shown(low: float, high: float, says: str) -> None:
    """By both ends of its interval; without an interval nothing is shown."""
    assert Finding("change", Interval(1.5, low, high), 2.0).says == says


def test_a_change_that_is_too_large_is_rarely_met() -> None:
    """Over 2,000 planted suites of five seeds whose true change is just the bar's, at most about one in twenty meets it."""
    rng = np.random.default_rng(0)
    met = [Finding("", student(rng.normal(2.0, 1.5, 5).tolist(), ONE_SIDED), 2.0).says == "met" for _ in range(2000)]
    assert 0.035 < np.mean(met) < 0.065


def test_every_seed_needs_a_split_of_its_own(planted_shards: Path) -> None:
    """Several seeds on one split are refused with a remedy; with `{seed}` in the path each reads its own shards."""
    base = load(None, preset="beyond", overrides=(f"shards={planted_shards}",))
    with pytest.raises(UserError, match=r"give --shards a path with \{seed\}"):
        choose("bar", base, sites=None, arena={}, seeds=2)
    suite = choose("bar", base, sites=None, arena={}, seeds=1)
    row = suite.rows[0].configure(base.model_copy(update={"shards": "shards-{seed}"}), suite="bar", seed=7)
    assert row.shards == "shards-7"


def test_seeds_may_share_splits_in_turn(planted_shards: Path, tmp_path: Path) -> None:
    """Four seeds on two splits: every training has its own seed and reads the shards of its split."""
    (tmp_path / "split-5").symlink_to(planted_shards)
    base = load(None, preset="beyond", overrides=(f"shards={tmp_path}/split-{{seed}}", "seed=5"))
    suite = choose("bar", base, sites=None, arena={"splits": 2}, seeds=4)
    trainings = write_configurations(suite, base, tmp_path / "out", suite.named("beyond"))
    read = {config.seed: config.shards.rsplit("-", 1)[1] for _, config in trainings.values()}
    assert read == {5: "5", 6: "6", 7: "5", 8: "6"}


def test_rows_differ_in_method_and_width_alone(planted_shards: Path) -> None:
    """As many epochs, the same schedule, optimiser and, but for the plain baseline, dropout; rates are multiples."""
    settings = ("stages.0.epochs=7", "encoder.dropout=0.25")
    base = load(None, preset="beyond", overrides=(f"shards={planted_shards}", *settings))
    suite = SUITES["bar"](Arena(sites=SITES))
    rows = {row.id: row.configure(base, suite="bar", seed=0) for row in suite.rows}
    assert rows["beyond"].stages == base.stages
    for config in rows.values():
        assert sum(stage.epochs for stage in config.stages) == 7
        assert {(stage.schedule, stage.optimiser, stage.weight_decay) for stage in config.stages} == {
            (base.stages[0].schedule, base.stages[0].optimiser, base.stages[0].weight_decay)
        }
    widths = {name: config.encoder.features for name, config in rows.items() if "without" not in name}  # type: ignore[union-attr]
    dropped = {name: config.encoder.dropout for name, config in rows.items()}  # type: ignore[union-attr]
    assert {name for name, dropout in dropped.items() if dropout != 0.25} == {
        "baseline", *(f"baseline-without-{group}" for group in (1, 2, 3)),
    }  # fmt: skip
    assert {widths[name] for name in ("baseline", "paper", "beyond-wide")} == {64}
    assert {widths[name] for name in ("beyond", "paper-narrow")} == {base.encoder.features}  # type: ignore[union-attr]
    assert rows["paper"].stages[1].rate("domain") == pytest.approx(1.5 * base.stages[0].rate("task"))
    assert rows["paper-matched"].data.unlearn is not None
    many = SUITES["bar"](Arena(sites=tuple(f"site{number:02d}" for number in range(12))))
    assert "paper-matched" not in {row.id for row in many.rows}
    assert sorted(
        site for row in many.rows if row.id.startswith("beyond-without") for site in set(many.sites) - set(row.sites)
    ) == list(many.sites)


def test_configurations_are_written_for_a_job_array(planted_shards: Path, tmp_path: Path) -> None:
    """One a training of the rows that are asked for, and each is what the row would be trained with."""
    base = load(None, preset="beyond", overrides=(f"shards={planted_shards}",))
    suite = choose("bar", base, sites=None, arena={}, seeds=1)
    trainings = write_configurations(suite, base, tmp_path, suite.named("base*, beyond"))
    assert sorted(path.stem for path in tmp_path.glob("*.yaml")) == sorted(folder.name for folder in trainings)
    assert {row.id for row, _ in trainings.values()} == {
        "baseline",
        "baseline-dropout",
        "baseline-narrow",
        "beyond",
    } | {f"{name}-without-{number}" for name in ("baseline", "baseline-dropout") for number in (1, 2, 3)}
    assert load(tmp_path / "beyond-seed0.yaml") == next(c for row, c in trainings.values() if row.id == "beyond")
    with pytest.raises(UserError, match="bar has no row nothing; there are baseline"):
        suite.named("nothing")


def test_people_are_dealt_within_their_site() -> None:
    """Every fold has its share of every site, nobody is in two, and small sites and equal rows are left out."""
    dealt = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "folds.py"))["dealt"]
    sizes = {"large": 25, "small": 12, "tiny": 9}
    sites = [site for site, size in sizes.items() for _ in range(size)]
    people = pd.DataFrame({
        "sub_id": range(len(sites)),
        "age": 30.0,
        "site": sites,
        "thick": np.arange(len(sites)) * 1.5,
    })
    people = pd.concat([people, people.iloc[:1].assign(sub_id=99)])
    found = dealt(people, folds=5, deal=3)
    assert len(found) == 25 + 12
    assert pd.crosstab(found["site"], found["fold"]).to_numpy().tolist() == [[5] * 5, [3, 3, 2, 2, 2]]
    assert "m_thick" in found
