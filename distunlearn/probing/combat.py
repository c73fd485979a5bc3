"""ComBat on the features of a stage, for comparison: a folder beside the stage's own that probes read like any.

ComBat needs the site of every scan, and one that it was fitted on: it says nothing of new scanners. It is fitted on the
training scans only. Age is not kept, because keeping it needs the age of the test scans, which is what is predicted.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV

from distunlearn.errors import UserError
from distunlearn.evaluate.stage import read_stage
from distunlearn.run_folder import FEATURES, PREDICTIONS
from distunlearn.shard_format import MISSING


def harmonise_features(stage_folder: Path) -> Path:
    """Remove the sites from a stage's features with ComBat and predict the target from what remains, by ridge regression.

    Args:
        stage_folder: RUN/STAGE of a regression run that has been evaluated.

    Returns:
        RUN/STAGE-combat, with features.npz and predictions.tsv of the scans of the sites that were trained on.

    Raises:
        UserError: the stage has not been evaluated, or `combatlearn` is not installed.
    """
    try:
        ComBat = import_module("combatlearn").ComBat
    except ImportError:
        raise UserError("ComBat needs the package combatlearn: pip install combatlearn") from None
    stage = read_stage(stage_folder)
    here = stage.table["site"].isin(stage.sites).to_numpy()
    table, features = stage.table[here].reset_index(drop=True), stage.features[here]
    known = (table["split"].eq("train") & table["target"].notna()).to_numpy()
    varies = features[known].std(axis=0) > 0
    combat = ComBat(batch=table["site"], method="johnson").fit(_frame(features[:, varies])[known])
    remains = np.asarray(combat.transform(_frame(features[:, varies])))
    ridge = RidgeCV(np.logspace(-3, 4, 15)).fit(remains[known], table["target"][known])
    folder = stage_folder.with_name(f"{stage_folder.name}-combat")
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / FEATURES, key=table["key"].to_numpy(str), features=remains.astype(np.float32))
    said = table.drop(columns="person").assign(prediction=ridge.predict(remains).round(4))
    said.to_csv(folder / PREDICTIONS, sep="\t", index=False, na_rep=MISSING)
    return folder


def _frame(features: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(features)
