"""The run folder: the record of a run, complete without any server, and the names of what lies in it.

RUN/config.yaml            the resolved configuration; `distunlearn train --config RUN/config.yaml` repeats the run
RUN/environment.json       versions, machine size, world size
RUN/scans.tsv              the scans of the run: key site split main unlearn and the labels (main, unlearn: 0 or 1)
RUN/metrics.jsonl          one JSON object a line: time stage epoch step and figures such as "val/mae/oasis"
RUN/STATUS.json            state and reason, written atomically
RUN/checkpoints/           generations to resume from
RUN/STAGE/model/           model.safetensors and model.json at the end of a stage
RUN/STAGE/predictions.tsv  key site split subject target prediction and the labels, of every split
RUN/STAGE/features.npz     key (n,) and features (n, F) float32: the encoder's output, in the order of predictions.tsv
RUN/STAGE/pictures.npz     what a site's scans look like and where the network looks, means over people, see evaluate.saliency
RUN/STAGE/summary.json     error a split and site, see evaluate.summary
RUN/STAGE/probe.json       how well fresh probes tell the scanner, see probing.probe
RUN/report.html            one self-contained page
RUN/rank-NUMBER/           federated: a site's own scans.tsv, STAGE/predictions.tsv and STAGE/features.npz, which no other site sees
"""

import json
import os
from pathlib import Path
from typing import Any

import yaml

from distunlearn.errors import UserError

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
SCANS = "scans.tsv"
METRICS = "metrics.jsonl"
STATUS = "STATUS.json"
CHECKPOINTS = "checkpoints"
MODEL = "model"
PREDICTIONS = "predictions.tsv"
FEATURES = "features.npz"
PICTURES = "pictures.npz"
SUMMARY = "summary.json"
PROBE = "probe.json"
REPORT = "report.html"


def stages_done(run: Path) -> tuple[Path, ...]:
    """The folders of the stages that have been evaluated, in the order in which they were trained.

    Raises:
        UserError: `run` is not a run folder, or no stage of it has been evaluated.
    """
    if not (run / CONFIG).is_file():
        raise UserError(
            f"{run}: no {CONFIG} there, so this is no run folder; give the folder that `distunlearn train` wrote"
        )
    # In the order of the configuration, not of the files' times, which a copy of the run does not keep.
    stages = [run / stage["name"] for stage in yaml.safe_load((run / CONFIG).read_text())["stages"]]
    done = tuple(stage for stage in stages if (stage / PREDICTIONS).is_file())
    if not done:
        raise UserError(f"{run}: no stage has been evaluated; run `distunlearn evaluate {run}`")
    return done


def write_json(path: Path, values: Any) -> None:
    """Write a JSON file so that a reader sees the old one or the new one, never half of one."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(values, indent=1, sort_keys=False) + "\n")
    part.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        UserError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); is the run complete?") from None
