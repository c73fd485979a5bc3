"""A run's model on shards: the run's own again, or those of other sites."""

from pathlib import Path

import torch
import yaml
from fsspec.core import url_to_fs

from distunlearn.errors import UserError
from distunlearn.evaluate.model import CARD, Model, load_model
from distunlearn.evaluate.predictions import predict, write_predictions
from distunlearn.evaluate.summary import summarise
from distunlearn.run_folder import CONFIG, MODEL
from distunlearn.streaming.access import Access
from distunlearn.streaming.drawn import SEGMENTATION
from distunlearn.streaming.loader import evaluation_batches
from distunlearn.streaming.manifest import Study, read_study

BATCH = 32


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
    model = load_model(run / stage / MODEL)
    config = yaml.safe_load((run / CONFIG).read_text())
    own = config["shards"]
    if shards is None:
        study = read_study(own, config["sites"], access=Access(**config["data"].get("access", {})))
    else:
        study = read_study(shards)
    refuse_other_preparation(model, study)
    rows = study.table.index.to_numpy(copy=True)  # pandas gives no right to write
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for part in model.parts.values():
        part.to(device)
    batches = evaluation_batches(study, rows, BATCH, target=model.card.task.targets or (SEGMENTATION,))
    place = url_to_fs(shards or own)[1]  # absolute, where it is a folder
    folder = run / (stage if place == url_to_fs(own)[1] else f"{stage}-on-{Path(place).name}")
    write_predictions(folder, study, predict(model, batches, device), model.task)
    summarise(folder)
    return folder


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
