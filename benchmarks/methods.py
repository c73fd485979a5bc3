"""All methods on one table of features of many sites: error a site, how well fresh probes tell the site, time.

    python benchmarks/methods.py TABLE.csv --out FOLDER [--folds 3] [--epochs 8] [--only joint --only alignment-4]

The table has columns sub_id, age, sex, site and features. People are dealt into folds within their site; a fold is the
test set once, a fifth of the rest is the validation split. Every method gets the same number of epochs: `standard`
trains for all of them, the others begin from a standard first half. Settings are those below, the same for all folds,
chosen beforehand and not on these test folds. Every finished run is a line of FOLDER/results.jsonl; a run that is
there is not made again. `--table` prints the table of docs/methods.md.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from folds import ABOUT, kept
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from distunlearn.config import RunConfig
from distunlearn.engine.train import train
from distunlearn.prepare import PrepareConfig, shard
from distunlearn.probing.combat import harmonise_features

FOLDS = 3
RATES = {"task": 1e-3, "domain": 3e-3, "confusion": 2e-4}
METHODS: dict[str, tuple[dict[str, Any] | None, Any, int]] = {
    # name: (method of the second half, its learning rates, width of the feature layer)
    "standard": (None, 1e-3, 64),
    "standard, pooled": ({"name": "standard", "loss": "pooled"}, 1e-3, 64),
    "standard, 4 features": (None, 1e-3, 4),
    "unlearning": ({"name": "unlearning"}, RATES, 64),
    "unlearning, 3 head steps": ({"name": "unlearning", "domain_steps": 3}, RATES, 64),
    "unlearning, 4 features": ({"name": "unlearning"}, RATES, 4),
    "joint": ({"name": "joint", "domain_steps": 3, "warm_up": 0.1}, 1e-3, 64),
    "joint, beta 3": ({"name": "joint", "domain_steps": 3, "beta": 3.0, "warm_up": 0.1}, 1e-3, 64),
    "joint, 4 features": ({"name": "joint", "domain_steps": 3, "warm_up": 0.1}, 1e-3, 4),
    "gradient reversal": ({"name": "reversal"}, 1e-3, 64),
    "conditional alignment": ({"name": "alignment"}, 1e-3, 64),
    "conditional alignment, 4 features": ({"name": "alignment"}, 1e-3, 4),
    "MMD": ({"name": "alignment", "kind": "mmd"}, 1e-3, 64),
    "CORAL": ({"name": "alignment", "kind": "coral"}, 1e-3, 64),
    "LEACE": ({"name": "erasure"}, 1e-3, 64),
    "ComBat on features": (None, 1e-3, 64),  # of the standard run; needs combatlearn, and the site of every scan
}


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=FOLDS, help="how many of the three are run")
    parser.add_argument("--epochs", type=int, default=8, help="of each half")
    parser.add_argument("--only", action="append", choices=METHODS)
    parser.add_argument("--table", dest="print_only", action="store_true")
    given = parser.parse_args()
    results = given.out / "results.jsonl"
    if not given.print_only:
        given.out.mkdir(parents=True, exist_ok=True)
        for fold in range(given.folds):
            run_fold(given, fold, results)
    print(as_table(lines(results)))


def run_fold(given: argparse.Namespace, fold: int, results: Path) -> None:
    """Make the runs of one fold that are missing."""
    shards = shards_of(given.table, given.out / f"fold{fold}", fold=fold)
    done = {line["method"] for line in lines(results) if line["fold"] == fold}
    for name in given.only or METHODS:
        if name not in done:
            found = measure(name, shards, given.out / "runs" / f"{name}-{fold}", epochs=given.epochs)
            with results.open("a") as file:
                file.write(json.dumps({"method": name, "fold": fold} | found) + "\n")


def lines(results: Path) -> list[dict[str, Any]]:
    """What has been measured."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []


def shards_of(table: Path, folder: Path, *, fold: int) -> Path:
    """Shards of the table with one fold as its test split."""
    if (folder / "shards").is_dir():
        return folder / "shards"
    people = kept(pd.read_csv(table), deal=0)
    nth = people.groupby("site").cumcount()
    rest = people.assign(nth=nth)[nth % FOLDS != fold].groupby("site").cumcount()
    people["split"] = np.where(nth % FOLDS == fold, "test", "train")
    people.loc[rest.index[rest % 5 == 4], "split"] = "val"
    features = [column for column in people if column not in {*ABOUT, "split"}]
    constant = [column for column in features if people[column].std() == 0 or people[column].isna().any()]
    folder.mkdir(parents=True)
    # What 0 and 1 mean is not said with the table, so that it is kept as a code.
    people = people.rename(columns={"sex": "sex_code"})
    people.drop(columns=constant).to_csv(folder / "people.csv", index=False)
    named = tuple(column for column in features if column not in constant)
    config = PrepareConfig(features=named, columns={"subject": "sub_id"}, labels=("age", "sex_code"), workers=1)
    shard([folder / "people.csv"], folder / "shards", config)
    return folder / "shards"


def configuration(name: str, shards: Path, *, epochs: int) -> RunConfig:
    """The run of one method."""
    method, rate, features = METHODS[name]
    first = {"name": "standard", "epochs": epochs, "learning_rate": 1e-3}
    if name == "standard, pooled":
        first["method"] = method
    second = first | {"name": "method", "learning_rate": rate} | ({"method": method} if method else {})
    values = {
        "shards": str(shards), "data": {"batch": 88}, "stages": [first, second],
        "encoder": {"name": "mlp", "hidden": [128], "features": features, "rectified": features > 8},
        "tracking": {"enabled": False}, "engine": {"checkpoint_minutes": 60},
    }  # fmt: skip
    return RunConfig.read(values, "benchmark")


def measure(name: str, shards: Path, run: Path, *, epochs: int) -> dict[str, Any]:
    """Train, then probe the test fold."""
    train(configuration(name, shards, epochs=epochs), run)
    stage = harmonise_features(run / "method") if name.startswith("ComBat") else run / "method"
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seconds = [line["time/seconds_per_step"] for line in logged if line["stage"] == "method"]
    said = pd.read_csv(stage / "predictions.tsv", sep="\t")
    with np.load(stage / "features.npz") as stored:
        features = stored["features"][(said["split"] == "test").to_numpy()]
    test = said[said["split"] == "test"]
    error = (test["prediction"] - test["target"]).abs()
    age = test[["target"]].to_numpy()
    return {
        "mae": error.mean(), "mae_by_site": error.groupby(test["site"]).mean().to_dict(),
        "probe": told(features, test["site"].to_numpy()), "floor": told(age, test["site"].to_numpy()),
        "seconds_per_step": float(np.median(seconds)), "test_people": len(test), "finished": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def told(features: np.ndarray, site: np.ndarray) -> float:
    """Balanced accuracy of the better of two fresh probes, fitted and tried on held-out people (three folds)."""
    probes = [LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), SVC(class_weight="balanced")]
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    said = [cross_val_predict(make_pipeline(StandardScaler(), probe), features, site, cv=folds) for probe in probes]
    return max(float(balanced_accuracy_score(site, one)) for one in said)


def as_table(found: list[dict[str, Any]]) -> str:
    """Means over folds, with the standard deviation of the two that are compared."""
    rows = [
        "| method | MAE, all people | MAE, mean over sites (worst site) | probe on held-out people | ms a step |",
        "|---|---|---|---|---|",
    ]
    for name in METHODS:
        mine = [line for line in found if line["method"] == name]
        if not mine:
            continue
        mae, probe = ([line[key] for line in mine] for key in ("mae", "probe"))
        sites = pd.DataFrame([line["mae_by_site"] for line in mine]).mean()
        step = 1000 * np.mean([line["seconds_per_step"] for line in mine])
        rows.append(
            f"| {name} | {np.mean(mae):.2f} ± {np.std(mae):.2f} | {sites.mean():.2f} ({sites.max():.1f}) | {np.mean(probe):.3f} ± {np.std(probe):.3f} | {step:.0f} |"
        )
    if found:
        floor = np.mean([line["floor"] for line in found])
        rows.append(
            f"\nThe same probes on true age: {floor:.3f}; chance {1 / len(found[0]['mae_by_site']):.3f}. Folds: {len({line['fold'] for line in found})}."
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
