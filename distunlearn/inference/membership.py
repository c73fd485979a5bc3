"""Can it be told from a model's errors who was trained on? Loss-threshold membership inference, site by site.

An attacker who knows a scan and its truth runs the model: a smaller loss than usual speaks for a scan of the training
(Yeom et al. 2018). The figure is the area under the ROC curve of that guess: 0.5 tells nothing, 1 tells everything.

Dimensions: `n` scans, `M` people trained on, `H` people held out.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import rankdata

from distunlearn.errors import UserError
from distunlearn.evaluate.stage import PERSON, read_predictions, read_table, trained_sites
from distunlearn.evaluate.summary import FEWEST_PEOPLE
from distunlearn.metrics import Interval, percentiles, resample_people
from distunlearn.run_folder import SCANS, write_json

AUDIT = "audit.json"
STATEMENT = (
    "Weights can reveal whose scans a model was trained on, whatever this figure says: it is one attack, and stronger "
    "ones exist. Do not call weights, features or gradients anonymous, and share them as the consent of the people allows."
)


def audit(stage_folder: Path, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Attack a stage's model by its losses, and write audit.json.

    Args:
        stage_folder: holds predictions.tsv.
        resamples: of people, for the intervals.
        seed: of the resamples.

    Returns:
        `sites`: for every site of the training and for all of them together, `members` and `held_out` (people), `auc`,
        `low` and `high` (95 % interval, resampling people); or `suppressed` where either group has fewer than five.

    Raises:
        UserError: the stage has not been evaluated, or its task has no loss that can be told from predictions.tsv.
    """
    table = read_predictions(stage_folder)
    loss = _losses(table, stage_folder)
    table = table.assign(loss=loss, member=_members(table, stage_folder.parent / SCANS)).dropna(subset=["loss"])
    sites = trained_sites(stage_folder, table)
    known = table[(table["member"] | (table["split"] == "test")) & table["site"].isin(sites)]
    people = known.groupby(["site", PERSON, "member"], as_index=False).agg({"loss": "mean"})
    found = {site: _attack(people[people["site"] == site], resamples, seed) for site in sites}
    result = {
        "stage": stage_folder.name,
        "attack": "a smaller loss means trained on",
        "statement": STATEMENT,
        "obtained": {"resamples": resamples, "seed": seed},
        "all": _attack(people, resamples, seed),
        "sites": found,
    }
    write_json(stage_folder / AUDIT, result)
    return result


def _members(table: pd.DataFrame, scans: Path) -> "pd.Series[bool]":
    """Scans of the training; those of split train that this run left out are neither members nor held out."""
    trained = table["split"] == "train"
    if scans.is_file():
        chosen = read_table(scans)
        trained &= table["key"].isin(chosen.loc[chosen["main"] > 0, "key"])
    return trained


def _losses(table: pd.DataFrame, folder: Path) -> "pd.Series[float]":
    """What the model got wrong of each scan, by the columns that its task writes."""
    probabilities = [name for name in table.columns if name.startswith("probability_")]
    if probabilities:
        right = table["target"].fillna(0).astype(int).to_numpy()
        of_truth = table[probabilities].to_numpy(float)[np.arange(len(table)), right]
        return pd.Series(-np.log(np.maximum(of_truth, 1e-12)), table.index).where(table["target"].notna())
    if "dice" in table.columns:
        return 1 - table["dice"]
    if not pd.api.types.is_numeric_dtype(table["prediction"]):
        raise UserError(f"{folder}: its predictions are no numbers, so that no loss can be told; audit another stage")
    return (table["prediction"] - table["target"]).abs()


def _attack(people: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    member = people["member"].to_numpy(bool)
    counts = {"members": int(member.sum()), "held_out": int((~member).sum())}
    if min(counts.values()) < FEWEST_PEOPLE:
        return {"suppressed": f"fewer than {FEWEST_PEOPLE} people trained on or held out"}
    loss = people["loss"].to_numpy(float)
    strata = people["site"].astype(str).to_numpy() + np.where(member, "/member", "/held out")
    found = _auc(loss[member], loss[~member], resample_people(strata, resamples, seed=seed), member)
    return counts | {"auc": found.value, "low": found.low, "high": found.high}


def _auc(members: Float[ndarray, " M"], held_out: Float[ndarray, " H"], times: ndarray, member: ndarray) -> Interval:
    """How often a member's loss is smaller than a held-out person's, ties counting half, and its interval."""
    ranks = rankdata(np.concatenate([held_out, members]))
    value = (ranks[: len(held_out)].sum() - len(held_out) * (len(held_out) + 1) / 2) / (len(members) * len(held_out))
    wins = (members[:, None] < held_out[None]) + 0.5 * (members[:, None] == held_out[None])
    drawn_members, drawn_others = times[:, member].astype(float), times[:, ~member].astype(float)
    resampled = np.einsum("rh,rh->r", drawn_members @ wins, drawn_others)
    return percentiles(value, resampled / (len(members) * len(held_out)))
