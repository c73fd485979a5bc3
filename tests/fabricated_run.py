"""Fabricates run folders of a study whose truth is known: how far scanners shift the features, and what age does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

SITES: Mapping[str, tuple[float, float]] = {"biobank": (62.0, 7.0), "oasis": (55.0, 18.0), "whitehall": (69.0, 5.0)}
"""Mean and SD of age in years."""
SCANS: Mapping[str, Mapping[str, int]] = {
    "train": {"biobank": 100, "oasis": 50, "whitehall": 30},
    "val": {"biobank": 40, "oasis": 24, "whitehall": 20},
    "test": {"biobank": 90, "oasis": 70, "whitehall": 60},
}


@dataclass(frozen=True)
class Study:
    """What is fabricated. `shift` is the distance between scanners in feature space, in units of the noise, a stage."""

    shift: Mapping[str, float] = field(default_factory=lambda: {"standard": 3.0, "unlearning": 0.0})
    scans: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: SCANS)
    travellers: int = 40
    features: int = 12
    error: float = 4.0
    """SD of the predictions' error, in years."""
    classes: int = 0
    """With some, the task is to tell the `group` of a person, which their content decides, instead of the age."""
    collapsed: tuple[str, ...] = ()
    """Stages whose features and predictions are constant."""


def write_run(folder: Path, study: Study | None = None, *, seed: int = 0) -> Path:
    """Write a run folder as `distunlearn.run_folder` describes it, without the checkpoints and the weights."""
    study = study or Study()
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    people = _people(study, rng)
    content = rng.normal(size=(people["person"].nunique(), study.features))
    if study.classes:
        people["group"] = np.digitize(content[people["person"], 0], np.linspace(-0.5, 0.5, study.classes - 1))
    _write_run_files(folder, people, study)
    axes = rng.normal(size=(study.features,)) / np.sqrt(study.features)
    scanner = dict(zip(SITES, np.linalg.qr(rng.normal(size=(study.features, len(SITES))))[0].T, strict=True))
    for stage, shift in study.shift.items():
        features = content[people["person"]] + (people["age"].to_numpy()[:, None] - 60) / 6 * axes
        features += 0.3 * rng.normal(size=features.shape)
        features += shift * np.stack([scanner[site] for site in people["site"]])
        prediction = people["age"] + rng.normal(0, study.error, len(people))
        if study.classes:
            wrong = rng.random(len(people)) < 0.2
            prediction = people["group"].where(~wrong, (people["group"] + 1) % study.classes)
        if stage in study.collapsed:
            features, prediction = np.full_like(features, 0.25), pd.Series(60.0, people.index)
        target = people["group" if study.classes else "age"]
        _write_stage(folder / stage, people.assign(target=target, prediction=prediction.round(3)), features)
    return folder


def _people(study: Study, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for split, counts in study.scans.items():
        for site, count in counts.items():
            mean, sd = SITES[site]
            ages = np.clip(rng.normal(mean, sd, count), 18, 92)
            rows += [{"site": site, "split": split, "age": age, "traveller": "n/a"} for age in ages]
    for number, age in enumerate(rng.uniform(60, 80, study.travellers)):
        rows += [{"site": site, "split": "travelling", "age": age, "traveller": f"t{number:03d}"} for site in SITES]
    table = pd.DataFrame(rows).round({"age": 1})
    identity = [
        row.traveller if row.traveller != "n/a" else f"p{number:04d}" for number, row in enumerate(table.itertuples())
    ]
    table["person"], _ = pd.factorize(pd.Series(identity))
    table["subject"] = [f"s{person:05d}" for person in table["person"]]
    table["key"] = [f"k{number:05d}" for number in range(len(table))]
    table["sex"] = rng.choice(["F", "M"], len(table))
    return table


def _write_run_files(folder: Path, people: pd.DataFrame, study: Study) -> None:
    used = (people["split"] == "train").astype(int)
    scans = people.assign(main=used, unlearn=used)[
        ["key", "site", "split", "main", "unlearn", "age", "sex", "traveller"]
    ]
    scans.to_csv(folder / "scans.tsv", sep="\t", index=False)
    stages = [{"name": stage, "method": {"name": stage}, "epochs": 6, "learning_rate": 1e-4} for stage in study.shift]
    task = (
        {"name": "classification", "target": "group"} if study.classes else {"name": "regression", "targets": ["age"]}
    )
    config = {
        "seed": 0,
        "data": {"root": "shards", "batch": 16},
        "task": task,
        "stages": stages,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11", "torch": "2.13", "world_size": 2}))
    lines = []
    for part, stage in enumerate(study.shift):
        for step in range(60 * part, 60 * part + 60):
            losses = {
                "train/task": 3 * 0.97**step,
                "train/domain": 1.1 - step / 200,
                "train/confusion": 1.1 + step / 300,
            }
            lines.append({"time": float(step), "stage": stage, "epoch": step // 10, "step": step, **losses})
            if step % 10 == 9:
                errors = {f"val/mae/{site}": 4 + 5 * 0.9**step for site in SITES}
                lines.append({"time": float(step), "stage": stage, "epoch": step // 10, "step": step, **errors})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _write_stage(folder: Path, table: pd.DataFrame, features: np.ndarray) -> None:
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "model.json").write_text(json.dumps({"simulated": True}))
    columns = ["key", "site", "split", "subject", "target", "prediction", "age", "sex", "traveller"]
    table[columns].to_csv(folder / "predictions.tsv", sep="\t", index=False)
    np.savez(folder / "features.npz", key=table["key"].to_numpy().astype(str), features=features.astype(np.float32))
