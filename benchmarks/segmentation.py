"""Dice a class and site of the held-out scans of a segmentation run, and what fresh probes say, stage by stage.

    python benchmarks/segmentation.py RUN...

Reads RUN/STAGE/predictions.tsv and probe.json, and prints the table of docs/tasks.md.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from distunlearn.probing.verdict import main_set
from distunlearn.run_folder import PREDICTIONS, PROBE, stages_done

CLASSES = {"dice_1": "grey", "dice_2": "white", "dice_3": "fluid"}
"""As `distunlearn simulate` numbers tissues."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    print(f"| run, stage | site | scans | Dice {' | Dice '.join(CLASSES.values())} | scanner told, %: [95 %] |")
    print("|---|---|--:|" + "--:|" * len(CLASSES) + "---|")
    for run in parser.parse_args().runs:
        for stage in stages_done(run):
            print("\n".join(rows(run.name, stage)))


def rows(run: str, stage: Path) -> list[str]:
    """A line a site of one stage."""
    said = pd.read_csv(stage / PREDICTIONS, sep="\t", na_values=["n/a"])
    probe = json.loads((stage / PROBE).read_text())
    tried = {name: found for name, found in probe["sets"].items() if "too_few" not in found}
    best = tried[main_set(tried)]["strongest"]
    told = f"{100 * best['value']:.0f} [{100 * best['low']:.0f}, {100 * best['high']:.0f}], {main_set(tried)}, {best['probe']}: {probe['verdict']}"
    lines = []
    for site, scans in said[said["split"] == "test"].groupby("site"):
        dice = " | ".join(f"{scans[name].mean():.3f} ± {scans[name].std():.3f}" for name in CLASSES)
        lines.append(f"| {run}, {stage.name} | {site} | {len(scans)} | {dice} | {told} |")
        told = ""
    return lines


if __name__ == "__main__":
    main()
