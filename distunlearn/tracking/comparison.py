"""The page of MLflow that shows given runs side by side."""

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from distunlearn.run_folder import read_json
from distunlearn.tracking.record import MIRRORED
from distunlearn.tracking.store import tracking_uri, where_to_open


def compare_link(runs: Sequence[Path]) -> str:
    """How to open MLflow's comparison of these runs, or why there is none.

    Raises:
        UserError: MLFLOW_TRACKING_URI is a folder.
    """
    without = [run.name for run in runs if not (run / MIRRORED).is_file()]
    if without:
        return f"does not hold {', '.join(without)}; `distunlearn sync` tells it of them"
    held = [read_json(run / MIRRORED) for run in runs]
    places = {tracking_uri(run, place["tracking_uri"]) for run, place in zip(runs, held, strict=True)}
    if len(places) > 1:
        return "these runs are kept in different places; set MLFLOW_TRACKING_URI and `distunlearn sync` them to one"
    ids, experiments = [place["run_id"] for place in held], sorted({place["experiment_id"] for place in held})
    return where_to_open(places.pop(), f"/#/compare-runs?runs={_listed(ids)}&experiments={_listed(experiments)}")


def _listed(values: Sequence[str]) -> str:
    return quote(json.dumps(values, separators=(",", ":")), safe="[],")
