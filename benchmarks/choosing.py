"""Which weights should a stage end with: the last, those of least validation error, or those whose scanner is told least?

One training a simulated study, on which all rules are tried: at the end of every epoch of the unlearning stage all scans
are predicted, those of the test too, which no run does (`engine.choosing` reads validation scans only). What each rule
takes is then probed on test and travelling scans.

    python benchmarks/choosing.py OUT --seeds 201 202 203     # 3 studies of 1,110 scans; about six CPU minutes each
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distunlearn.config import load
from distunlearn.engine.choosing import SCANNER, Chooser, Kept
from distunlearn.engine.train import train
from distunlearn.evaluate.predictions import Predictions, predict, write_predictions
from distunlearn.evaluate.summary import summarise
from distunlearn.prepare import PrepareConfig, shard
from distunlearn.probing.probe import probe
from distunlearn.shard_format import SPLITS
from distunlearn.simulate import Study, simulate

SCANS = {"biobank": 450, "oasis": 250, "whitehall": 200}
TRAVELLING = 70
SHARDS = {"preprocessing": {"size": (32, 40, 16), "keep_every": 1}, "val": 0.2, "test": 0.25, "workers": 1}
STAGE = "unlearning"


def prepared(folder: Path, seed: int) -> Path:
    """Shards of one simulated study."""
    simulate(folder / "study", Study(seed=seed, scans=SCANS, travelling=TRAVELLING, voxel_mm=4.0), workers=1)
    sites = [folder / "study" / site for site in SCANS]
    shard(sites, folder / "shards", PrepareConfig.read(SHARDS, "benchmark"))
    return folder / "shards"


@contextmanager
def every_epoch_predicted(run: Path) -> Iterator[None]:
    """Write predictions of all scans to RUN/epoch-00 (before the stage), and so on."""
    honest, numbers = Chooser.figures, iter(range(1000))

    def figures(self: Chooser) -> dict[str, float]:
        if self.stage.name == STAGE:
            model = self.job.model()
            model.set_training(False)
            told = [predict(model, self.job.evaluation(split), self.job.runtime.device).packed() for split in SPLITS]
            model.set_training(True)
            said = Predictions.unpacked(torch.cat(told), len(model.task.columns))
            write_predictions(run / f"epoch-{next(numbers):02d}", self.job.study, said, model.task)
        return honest(self)

    Chooser.figures = figures  # type: ignore[method-assign]
    try:
        yield
    finally:
        Chooser.figures = honest  # type: ignore[method-assign]


def choices(run: Path, tolerance: float) -> dict[str, int]:
    """The epoch, from 1, that each rule takes; 0 is the network before the stage."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    ends = [line for line in lines if "val/mae" in line]
    baseline = [line["val/mae"] for line in ends if line["stage"] != STAGE][-1]
    epochs = [line for line in ends if line["stage"] == STAGE]
    by_error, by_scanner = Kept(limit=0.0), Kept(limit=baseline * (1 + tolerance))
    for number, line in enumerate(epochs, 1):
        by_error = by_error.after(number, line["val/mae"], 0.0, {})
        by_scanner = by_scanner.after(number, line["val/mae"], abs(line[SCANNER] - 1 / len(SCANS)), {})
    return {"before": 0, "last": len(epochs), "error": by_error.epoch, "scanner": by_scanner.epoch}


def result(stage: Path) -> dict[str, float]:
    """Error and scanner of an epoch on scans that chose nothing."""
    cells = summarise(stage)["splits"]["test"].values()
    found = probe(stage, quick=True)["sets"]
    told = {name: found[name]["strongest"]["value"] for name in ("matched", "travelling")}
    floor = {f"{name} floor": found[name]["floor"]["label_with_error"]["value"] for name in told}
    return {"error": float(np.mean([cell["error"] for cell in cells]))} | told | floor


def compare(out: Path, seed: int, overrides: list[str], tolerance: float) -> list[dict[str, Any]]:
    """Train once and see what each rule takes."""
    folder = out / f"seed-{seed}"
    run = folder / "run"
    given = (f"shards={prepared(folder, seed)}", f"seed={seed}", "tracking.enabled=false", *overrides)
    config = load(None, preset="demo", overrides=(*given, "stages.1.choose=scanner", f"stages.1.tolerance={tolerance}"))
    if not (run / STAGE).is_dir():
        with every_epoch_predicted(run):
            train(config, run)
    return [
        {"seed": seed, "rule": rule, "epoch": epoch} | result(run / f"epoch-{epoch:02d}")
        for rule, epoch in choices(run, tolerance).items()
    ]


def main() -> None:
    """Print a line a rule and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[201, 202, 203])
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--set", nargs="*", default=[], dest="overrides")
    given = parser.parse_args()
    for seed in given.seeds:
        for row in compare(given.out, seed, given.overrides, given.tolerance):
            shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
            print(json.dumps(shown), flush=True)


if __name__ == "__main__":
    main()
