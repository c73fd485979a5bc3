"""A run's model on shards: the run's own again, or those of other sites."""

from pathlib import Path
from typing import Any

import torch
import yaml
from fsspec.core import url_to_fs

from distunlearn.errors import UserError
from distunlearn.evaluate.model import CARD, Model, load_model
from distunlearn.evaluate.predictions import predict, write_predictions
from distunlearn.evaluate.saliency import write_pictures
from distunlearn.evaluate.summary import summarise
from distunlearn.run_folder import CONFIG, MODEL
from distunlearn.streaming.access import Access
from distunlearn.streaming.drawn import SEGMENTATION
from distunlearn.streaming.loader import evaluation_batches
from distunlearn.streaming.manifest import Study, read_study

BATCH = 32
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def evaluate(run: Path, stage: str, shards: str | None = None) -> Path:
    """Predict every scan of a study with the model of one stage, and summarise the errors.

    Args:
        run: the run folder.
        stage: the stage whose model is used.
        shards: folder or URL of other shards than those of the training; their results go into RUN/STAGE-on-SHARDS.

    Returns:
        The folder that holds predictions.tsv, features.npz and summary.json.

    Raises:
        UserError: no such stage, or shards that were prepared in another way than those of the training.
    """
    config = _config(run)
    study = _own_study(config) if shards is None else read_study(shards)
    model = _ready(run, stage, study)
    rows = study.table.index.to_numpy(copy=True)  # pandas gives no right to write
    batches = evaluation_batches(study, rows, BATCH, target=model.card.task.targets or (SEGMENTATION,))
    place, own = url_to_fs(shards or config["shards"])[1], url_to_fs(config["shards"])[1]  # absolute, where folders
    folder = run / (stage if place == own else f"{stage}-on-{Path(place).name}")
    write_predictions(folder, study, predict(model, batches, DEVICE), model.task)
    summarise(folder)
    write_pictures(folder, model, study)
    return folder


def picture(run: Path, stage: str) -> Path | None:
    """Write what a stage's scans look like and where its model looks; None where there is nothing to show.

    Nor is there of a federated run, whose scans no process may see together.

    Raises:
        UserError: no such stage, or the run's shards are not there any more.
    """
    config = _config(run)
    if config["data"]["placement"]["kind"] == "federated":
        return None
    study = _own_study(config)
    return write_pictures(run / stage, _ready(run, stage, study), study)


def _config(run: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((run / CONFIG).read_text())
    return config


def _own_study(config: dict[str, Any]) -> Study:
    """The scans that a run was trained on."""
    return read_study(config["shards"], config["sites"], access=Access(**config["data"].get("access", {})))


def _ready(run: Path, stage: str, study: Study) -> Model:
    """A stage's model on the device, for scans that were prepared as its own."""
    model = load_model(run / stage / MODEL)
    refuse_other_preparation(model, study)
    for part in model.parts.values():
        part.to(DEVICE)
    return model


def last_stage(run: Path) -> str:
    """Name of the last stage of a run whose model has been written.

    Raises:
        UserError: there is none.
    """
    models = sorted(run.glob(f"*/{MODEL}/{CARD}"), key=lambda path: path.stat().st_mtime_ns)
    if not models:
        raise UserError(f"{run}: no stage of it has a model yet; give a run folder whose training has finished a stage")
    return models[-1].parent.parent.name


def model_folder(run: Path, stage: str | None = None) -> Path:
    """Where the model of a run lies: that of its last stage unless told otherwise, or the folder itself if it is one.

    Raises:
        UserError: no stage has a model yet.
    """
    if stage is None and (run / CARD).is_file():
        return run
    return run / (stage or last_stage(run)) / MODEL


def refuse_other_preparation(model: Model, study: Study) -> None:
    """Refuse shards that were not prepared as the training scans were.

    Raises:
        UserError: names the settings that differ.
    """
    if study.preprocessing_digest == model.card.preprocessing_digest:
        return
    ours, theirs = model.card.preprocessing, study.preprocessing
    differ = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    raise UserError(
        f"{study.root}: prepared otherwise than the scans of the training ({', '.join(differ)}); "
        f"run `distunlearn shard` with {', '.join(f'{key} {ours.get(key)}' for key in differ)}"
    )
