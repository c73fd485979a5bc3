"""One evaluated stage of a run, read from its folder: the scans, what was predicted, and the features."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from jaxtyping import Float
from numpy import ndarray

from distunlearn.errors import UserError
from distunlearn.evaluate.measure import AGE, Predicted, predicted
from distunlearn.run_folder import CONFIG, FEATURES, PREDICTIONS, SCANS
from distunlearn.shard_format import MISSING

NEEDED = ("key", "site", "split", "subject", "target", "prediction")
PERSON = "person"
"""Column that is added: who was scanned. A traveller is one person at all sites, anybody else one person of one site."""


@dataclass(frozen=True)
class Stage:
    """Rows of `table` and of `features` belong together."""

    folder: Path
    table: pd.DataFrame
    features: Float[ndarray, "n F"]
    sites: tuple[str, ...]
    """The sites that took part in the training, in alphabetical order."""
    predicted: Predicted
    """What is predicted, and how it is measured."""
    chosen: bool = False
    """Whether its weights were chosen by how well the scanner is told on validation scans."""

    @property
    def name(self) -> str:
        """The stage's name, such as `unlearning`."""
        return self.folder.name

    @property
    def label_names(self) -> tuple[str, ...]:
        """What may tell the scanner without any scanner in the features: the target, and the age."""
        return (self.predicted.target, AGE) if self._age_too else (self.predicted.target,)

    @property
    def labels(self) -> Float[ndarray, "n L"]:
        """Those of each scan, the target first; NaN where one is not known."""
        columns = ["target", AGE] if self._age_too else ["target"]
        return self.table[columns].to_numpy(dtype=float)

    @property
    def _age_too(self) -> bool:
        return self.predicted.target != AGE and AGE in self.table and pd.api.types.is_numeric_dtype(self.table[AGE])


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of the run: `n/a` is missing, names stay text.

    Raises:
        UserError: there is no such table, or it is none.
    """
    text = {name: str for name in ("key", "site", "split", "subject", "session", "traveller")}
    try:
        return pd.read_csv(path, sep="\t", dtype=text, na_values=[MISSING], keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `distunlearn evaluate {path.parent.parent}`") from None


def read_predictions(folder: Path) -> pd.DataFrame:
    """The stage's predictions, with the column `person`.

    Raises:
        UserError: a needed column is missing.
    """
    table = read_table(folder / PREDICTIONS)
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise UserError(f"{folder / PREDICTIONS}: no column {', '.join(missing)}; run `distunlearn evaluate` again")
    return with_people(table)


def with_people(table: pd.DataFrame) -> pd.DataFrame:
    """A table of predictions with the column `person`."""
    own = table["site"] + "/" + table["subject"]
    travellers = (
        table["traveller"] if "traveller" in table.columns else pd.Series(None, index=table.index, dtype=object)
    )
    return table.assign(**{
        PERSON: travellers.where(travellers.isna(), "travelling/" + travellers.astype(str)).fillna(own)
    })


def read_stage(folder: Path) -> Stage:
    """Read a stage whole.

    Raises:
        UserError: a file is missing or broken, or the features are not those of the predictions.
    """
    table = read_predictions(folder)
    keys, features = _read_features(folder / FEATURES)
    if list(keys) != list(table["key"]):
        raise UserError(
            f"{folder}: {FEATURES} and {PREDICTIONS} hold different scans; run `distunlearn evaluate` again"
        )
    return Stage(folder, table, features, trained_sites(folder, table), predicted(folder.parent), _is_chosen(folder))


def _is_chosen(folder: Path) -> bool:
    path = folder.parent / CONFIG
    stages = (yaml.safe_load(path.read_text()) or {}).get("stages", []) if path.is_file() else []
    return any(stage["name"] == folder.name and stage.get("choose") == "scanner" for stage in stages)


def trained_sites(folder: Path, table: pd.DataFrame) -> tuple[str, ...]:
    """Sites with scans that were trained on, for the task or for unlearning; a site that was left out is not among them."""
    path = folder.parent / SCANS
    if path.is_file():
        scans = read_table(path)
        used: Collection[str] = scans.loc[(scans["main"] > 0) | (scans["unlearn"] > 0), "site"]
    else:
        used = table.loc[table["split"] == "train", "site"]
    return tuple(sorted(set(used)))


def _read_features(path: Path) -> tuple[ndarray, Float[ndarray, "n F"]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["key"], stored["features"].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `distunlearn evaluate` again") from None
