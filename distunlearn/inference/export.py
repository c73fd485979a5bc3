"""A model to hand over: weights, what they expect, and a card that says what was done and what is not known."""

import shutil
from pathlib import Path

import torch
import yaml
from torch import Tensor

from distunlearn.errors import UserError
from distunlearn.evaluate.model import CARD, WEIGHTS, Model, load_model
from distunlearn.inference.card_text import card_text
from distunlearn.inference.deployed import write_onnx, write_torch
from distunlearn.inference.service import columns
from distunlearn.run_folder import CONFIG, MODEL
from distunlearn.streaming.loader import evaluation_batches
from distunlearn.streaming.manifest import read_study
from distunlearn.tracking.serving import save_served

README = "README.md"
CHECKED = 4
"""Scans on which a graph is compared with the original."""
SERVED = '''"""What MLflow runs to serve this model: distunlearn reads the weights, nothing is unpickled."""

from distunlearn.inference.service import load
from distunlearn.tracking.serving import serve

serve(load)
'''
GRAPHS = {"torch": (write_torch, "model.pt2"), "onnx": (write_onnx, "model.onnx")}


def export(run: Path, stage: str, out: Path) -> Model:
    """Write model.safetensors, model.json, config.yaml and README.md, the model card.

    Args:
        run: run folder.
        stage: whose model.
        out: folder to write; `distunlearn predict --run OUT` works with it as it is.

    Returns:
        The model, read back from `out`.

    Raises:
        UserError: no such stage, or its model is damaged.
    """
    source = run / stage / MODEL
    card = load_model(source).card
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / WEIGHTS, out / WEIGHTS)
    config = yaml.safe_load((run / CONFIG).read_text())
    config.pop("shards", None)  # where they lie here is nobody's business elsewhere
    config.pop("tracking", None)
    (out / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
    (out / README).write_text(card_text(run / stage, card))
    shutil.copyfile(source / CARD, out / CARD)  # last: a folder with it is whole
    return load_model(out)


def write_graph(kind: str, run: Path, model: Model, out: Path) -> str:
    """Write the model as a graph for other programs, compared with the original on scans of the run.

    Args:
        kind: a key of `GRAPHS`.
        run: whose shards are read for the comparison.
        model: what `export` gave.
        out: folder to write into.

    Returns:
        What was written and how far it is from the original, in a sentence.

    Raises:
        UserError: the shards are not there any more, packages are missing, or the graph differs.
    """
    write, name = GRAPHS[kind]
    real = real_scans(run)
    difference = write(model, out / name, real)
    return f"{out / name}: on {len(real)} scans within {difference:.1e} of the original, relative to its largest value"


def write_mlflow(model: Model, out: Path) -> str:
    """Write OUT/mlflow, a model that MLflow serves: NIfTI files in, predictions and warnings out.

    Args:
        model: what `export` gave.
        out: its folder, whose weights are copied.

    Returns:
        What was written and how it is served, in a sentence.

    Raises:
        UserError: a model of tables, or OUT/mlflow is there already.
    """
    if model.card.kind != "volume":
        raise UserError("--format mlflow: this model takes tables of features, and scans are what is served")
    folder = out / "mlflow"
    if folder.exists():
        raise UserError(f"{folder}: is there already; take it away first")
    files = [out / name for name in (WEIGHTS, CARD, README)]
    save_served(folder, files, takes="scan", gives=columns(model), code=SERVED)
    return f"{folder}: serve it with `mlflow models serve --env-manager local --model-uri {folder}`"


def real_scans(run: Path) -> Tensor:
    """Some of the run's own scans, as the network gets them; held-out ones if there are any.

    Raises:
        UserError: the shards are not where they were, or hold fewer than two scans.
    """
    config = yaml.safe_load((run / CONFIG).read_text())
    study = read_study(config["shards"], config["sites"])
    order = study.table.reset_index(drop=True).sort_values("split", key=lambda split: split != "test", kind="stable")
    rows = order.index.to_numpy(copy=True)[:CHECKED]
    if len(rows) < 2:
        raise UserError(f"{config['shards']}: fewer than two scans, and a graph is checked on two or more")
    batches = evaluation_batches(study, rows, CHECKED)
    return torch.cat([batch.to("cpu").volume for batch in batches])
