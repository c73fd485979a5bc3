"""Site and sex unlearned together, sex as the task, a third site that takes part in unlearning only: on a table of features.

    python benchmarks/confounds.py TABLE.csv --out FOLDER [--folds 3] [--seeds 1] [--epochs 10]

The table, its folds and the probes are those of benchmarks/methods.py. Settings are the same for all rows, folds and
seeds, and were not chosen on these test folds. Every finished run is a line of FOLDER/confounds.jsonl; a run that is
there is not made again. Prints the tables of docs/tasks.md: means ± standard deviation over folds and seeds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from methods import FOLDS, lines, shards_of, told

from distunlearn.config import RunConfig
from distunlearn.engine.train import train

STEPS = {"name": "joint", "domain_steps": 3, "warm_up": 0.1}
PAPER_RATES = {"task": 1e-3, "domain": 3e-3, "confusion": 2e-4}
BOTH = {"confounds": ["site", "sex"]}
SEX = {"task": {"name": "classification", "target": "sex_code", "class_weights": "balanced"}}
LABELLED, THIRD = ["NewYork_a", "ICBM"], "Cambridge_Buckner"
TWO = {"sites": [*LABELLED, THIRD], "data": {"batch": 24, "main": {"sites": LABELLED}}}
THREE = TWO | {"data": TWO["data"] | {"unlearn": {"among": "study"}}}  # type: ignore[operator]
ROWS: dict[str, dict[str, tuple[dict[str, Any], Any, dict[str, Any]]]] = {
    # table: row: (method of the second half, its learning rates, further settings)
    "Site and sex together; the task is age": {
        "standard": ({"name": "standard"}, 1e-3, {}),
        "the paper's updates, site": ({"name": "unlearning"}, PAPER_RATES, {}),
        "the paper's updates, site and sex": ({"name": "unlearning"} | BOTH, PAPER_RATES | {"domain_sex": 3e-3}, {}),
        "joint, site": (STEPS, 1e-3, {}),
        "joint, site and sex": (STEPS | BOTH, 1e-3, {}),
        "conditional alignment, site": ({"name": "alignment"}, 1e-3, {}),
        "conditional alignment, site and sex": ({"name": "alignment"} | BOTH, 1e-3, {}),
    },
    "The task is sex": {
        "standard": ({"name": "standard"}, 1e-3, SEX),
        "the paper's updates, site": ({"name": "unlearning"}, PAPER_RATES, SEX),
        "joint, site": (STEPS, 1e-3, SEX),
        "conditional alignment at the same sex, site": ({"name": "alignment", "within": 0}, 1e-3, SEX),
    },
    "A third site without labels; the task is age": {
        "standard": ({"name": "standard"}, 1e-3, TWO),
        "the paper's updates, the third site left out": ({"name": "unlearning"}, PAPER_RATES, TWO),
        "the paper's updates, the third site in X_u": ({"name": "unlearning"}, PAPER_RATES, THREE),
        "joint, the third site in X_u": (STEPS, 1e-3, THREE),
        "MMD, the third site in X_u": ({"name": "alignment", "kind": "mmd"}, 1e-3, THREE),
    },
}


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10, help="of each half")
    given = parser.parse_args()
    results = given.out / "confounds.jsonl"
    done = {(line["table"], line["row"], line["fold"], line["seed"]) for line in lines(results)}
    todo = [(t, r, f, s) for s in range(given.seeds) for f in range(given.folds) for t in ROWS for r in ROWS[t]]
    for table, row, fold, seed in todo:
        if (table, row, fold, seed) not in done:
            shards = shards_of(given.table, given.out / f"fold{fold}", fold=fold)
            run = given.out / "runs" / f"{list(ROWS).index(table)}-{row}-{fold}-{seed}"
            train(configuration(table, row, shards, seed=seed, epochs=given.epochs), run)
            with results.open("a") as file:
                file.write(json.dumps({"table": table, "row": row, "fold": fold, "seed": seed} | figures(run)) + "\n")
    for table in ROWS:
        print(f"\n{table}\n\n{as_table(table, lines(results))}")


def configuration(table: str, row: str, shards: Path, *, seed: int, epochs: int) -> RunConfig:
    """One run."""
    method, rates, further = ROWS[table][row]
    first = {"name": "standard", "epochs": epochs, "learning_rate": 1e-3}
    values = {
        "shards": str(shards), "seed": seed, "data": {"batch": 88},
        "stages": [first, first | {"name": "method", "method": method, "learning_rate": rates}],
        "encoder": {"name": "mlp", "hidden": [128], "features": 64},
        "confounds": {"sex": {"column": "sex_code"}}, "tracking": {"enabled": False}, "engine": {"checkpoint_minutes": 60},
    } | further  # fmt: skip
    return RunConfig.read(values, "benchmark")


def figures(run: Path) -> dict[str, Any]:
    """What the test fold says: the error, and how well fresh probes tell site and sex from the features."""
    said = pd.read_csv(run / "method" / "predictions.tsv", sep="\t")
    with np.load(run / "method" / "features.npz") as stored:
        features = stored["features"][(said["split"] == "test").to_numpy()]
    test = said[said["split"] == "test"].reset_index(drop=True)
    third = test["site"] == THIRD
    labels = test[["age", "sex_code"]].to_numpy(float)
    if "probability_0" in test:
        error, labels = 100.0 * (test["prediction"] != test["target"]), labels[:, 1:]
    else:
        error, labels = (test["prediction"] - test["target"]).abs(), labels[:, :1]
    return {
        "error": error[~third].mean() if test["site"].nunique() == 3 else error.mean(),
        "error_third": error[third].mean() if test["site"].nunique() == 3 else None,
        "site": told(features, test["site"].to_numpy()), "sex": told(features, test["sex_code"].to_numpy()),
        "floor": told(labels, test["site"].to_numpy()), "sites": test["site"].nunique(),
    }  # fmt: skip


def as_table(table: str, found: list[dict[str, Any]]) -> str:
    """Means and standard deviations, a row each."""
    mine = pd.DataFrame([line for line in found if line["table"] == table])
    third = mine["error_third"].notna().any()
    heads = ["row", "error", *(["error at the third site"] if third else []), "site told", "sex told"]
    columns = ["error", *(["error_third"] if third else []), "site", "sex"]
    rows = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in ROWS[table]:
        own = mine[mine["row"] == row]
        cells = [f"{own[name].mean():.3g} ± {own[name].std(ddof=0):.2g}" for name in columns]
        rows.append(f"| {row} | {' | '.join(cells)} |")
    label = "sex" if table == "The task is sex" else "age"
    floor, chance = mine["floor"].mean(), 1 / mine["sites"].iloc[0]
    return "\n".join([
        *rows,
        f"\nThe site told from true {label} alone: {floor:.3f}; chance {chance:.3f}; runs a row: {len(own)}.",
    ])


if __name__ == "__main__":
    main()
