"""What local steps cost: error and separability when weights are averaged every K steps, against exact reduction.

    OMP_NUM_THREADS=1 python benchmarks/local_steps.py --out FOLDER [--periods 1 4 16] [--seeds 3] [--epochs 30]

Every seed is a simulated study of its own, trained federated on three processes of this machine, one site each: the case
that local steps are for, and the hardest, because a domain head then sees one class between two averages. K = 1 is exact
reduction. So that many runs take minutes, a scan is the means of its blocks and the encoder a perceptron, without batch
norm. Weights are also averaged when an epoch ends. Every finished run is a line of FOLDER/results.jsonl and is kept.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from distunlearn.config import RunConfig
from distunlearn.engine.train import train
from distunlearn.evaluate.join import join
from distunlearn.evaluate.summary import summarise
from distunlearn.prepare import PrepareConfig, Preprocessing, shard
from distunlearn.probing.probe import probe
from distunlearn.simulate import Study, simulate
from distunlearn.streaming.loader import evaluation_batches
from distunlearn.streaming.manifest import read_study

SCANS = {"biobank": 240, "oasis": 120, "whitehall": 90}
BLOCKS = (6, 7, 6)
"""Along each axis of a scan: the means of their voxels are the features."""
RATES = {"task": 1e-3, "domain": 3e-3, "confusion": 2e-4}
STAGE = "unlearning"


class Setting(NamedTuple):
    """What distinguishes a run."""

    shards: Path
    seed: int
    period: int
    epochs: int


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--periods", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30, help="of each of the two stages")
    given = parser.parse_args()
    results = given.out / "results.jsonl"
    for seed, period in itertools.product(range(given.seeds), given.periods):
        if any((line["seed"], line["period"]) == (seed, period) for line in lines(results)):
            continue
        shards = shards_of(given.out / f"study-{seed}", seed)
        found = measure(given.out / f"run-{seed}-{period}", Setting(shards, seed, period, given.epochs))
        with results.open("a") as file:
            file.write(json.dumps({"seed": seed, "period": period} | found) + "\n")
    print(as_table(lines(results)))


def lines(results: Path) -> list[dict[str, Any]]:
    """What has been measured."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []


def shards_of(folder: Path, seed: int) -> Path:
    """A simulated study as a table of features, sharded; one scan a person."""
    if (folder / "shards").is_dir():
        return folder / "shards"
    simulate(folder / "study", Study(seed=seed, scans=SCANS, travelling=0, voxel_mm=6), workers=1)
    sites = [path for path in (folder / "study").iterdir() if path.is_dir()]
    shard(sites, folder / "volumes", PrepareConfig(preprocessing=Preprocessing(size=(24, 28, 24)), workers=1))
    study = read_study(str(folder / "volumes"), None)
    batches = evaluation_batches(study, np.arange(len(study.table)), 64)
    blocks = torch.cat([F.adaptive_avg_pool3d(batch.to("cpu").volume, BLOCKS).flatten(1) for batch in batches])
    names = tuple(f"block{number}" for number in range(blocks.shape[1]))
    table = pd.concat([study.table[["subject", "site", "split", "age"]], pd.DataFrame(blocks, columns=names)], axis=1)
    table.drop_duplicates(["site", "subject"]).to_csv(folder / "people.csv", index=False)
    shard([folder / "people.csv"], folder / "shards", PrepareConfig(features=names, labels=("age",), workers=1))
    return folder / "shards"


def measure(run: Path, setting: Setting) -> dict[str, Any]:
    """Train on one process a site; errors and probes come from the joined predictions and features."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(["distunlearn.engine.train"])
    ranks = [fork.Process(target=train_rank, args=(rank, port, run, setting)) for rank in range(len(SCANS))]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    join(run)
    cells = summarise(run / STAGE)["splits"]["test"]
    told = probe(run / STAGE, quick=True)["sets"]["natural"]
    return {
        "error": {site: cells[site]["error"] for site in SCANS},
        "constant": {site: cells[site]["constant_error"] for site in SCANS},
        "scanner": told["strongest"]["value"], "label": told["floor"]["label"]["value"],
    }  # fmt: skip


def train_rank(rank: int, port: int, run: Path, setting: Setting) -> None:
    """One rank's part of a training."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(len(SCANS)),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    shards, seed, period, epochs = setting
    stages = [
        {"name": "standard", "epochs": epochs},
        {"name": STAGE, "epochs": epochs, "method": {"name": "unlearning", "domain_steps": 3}, "learning_rate": RATES},
    ]
    values = {
        "shards": str(shards), "sites": list(SCANS), "seed": seed, "stages": stages,
        "encoder": {"name": "mlp", "hidden": [64], "features": 32},
        "data": {"batch": 24, "placement": {"kind": "federated"}}, "tracking": {"enabled": False},
        "engine": {"average_every": period, "log_every": 10**6, "checkpoint_minutes": 60},
    }  # fmt: skip
    train(RunConfig.read(values, "benchmark"), run)


def as_table(found: list[dict[str, Any]]) -> str:
    """Means over seeds, and how far K is from exact reduction on the same study."""
    rows = [
        "| weights averaged | error, years: "
        + ", ".join(SCANS)
        + " | their mean | more than exact | scanner told | age alone |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    exact = {line["seed"]: mean_error(line) for line in found if line["period"] == 1}
    for period in sorted({line["period"] for line in found}):
        of = [line for line in found if line["period"] == period]
        by_site = " / ".join(f"{np.mean([line['error'][site] for line in of]):.2f}" for site in SCANS)
        dearer = [mean_error(line) - exact[line["seed"]] for line in of]
        name = "never: exact, every gradient is reduced" if period == 1 else f"every {period} steps"
        more = f"{np.mean(dearer):+.2f} ({min(dearer):+.2f} to {max(dearer):+.2f})" if period > 1 else ""
        rows.append(
            f"| {name} | {by_site} | {np.mean([mean_error(line) for line in of]):.2f} | {more} | "
            f"{np.mean([line['scanner'] for line in of]):.2f} | {np.mean([line['label'] for line in of]):.2f} |"
        )
    constants = [np.mean([line["constant"][site] for line in found]) for site in SCANS]
    constant = " / ".join(f"{error:.2f}" for error in constants)
    return "\n".join([*rows, f"| (the median of all ages) | {constant} | {np.mean(constants):.2f} | | | |"])


def mean_error(line: dict[str, Any]) -> float:
    """Of a run, over sites."""
    return float(np.mean(list(line["error"].values())))


if __name__ == "__main__":
    main()
