"""Puts the sites' own parts of a federated run together, where somebody is allowed to have them all."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from distunlearn.errors import UserError
from distunlearn.evaluate.stage import PERSON, read_stage, read_table
from distunlearn.run_folder import CONFIG, FEATURES, MODEL, PREDICTIONS, SCANS
from distunlearn.shard_format import MISSING

RANKS = "rank-*"


def join(run: Path) -> tuple[Path, ...]:
    """Write predictions.tsv, features.npz and scans.tsv of all sites, from those in RUN/rank-0, RUN/rank-1 and so on.

    Args:
        run: the folder that rank 0 wrote, with the other ranks' folders copied into it.

    Returns:
        The stages' folders, in the order in which they were trained.

    Raises:
        UserError: no rank's folder is there, or one lacks a stage that another has.
    """
    ranks = sorted(folder for folder in run.glob(RANKS) if folder.is_dir())
    if not ranks:
        raise UserError(f"{run}: no rank-0, rank-1, … in it; copy those of all sites of the federated run there")
    _write(pd.concat([read_table(rank / SCANS) for rank in ranks]), run / SCANS)
    return tuple(_join_stage(run, ranks, stage) for stage in _stages(run, ranks))


def _stages(run: Path, ranks: list[Path]) -> list[str]:
    named = [stage["name"] for stage in yaml.safe_load((run / CONFIG).read_text())["stages"]]
    stages = [name for name in named if (run / name / MODEL).is_dir()]
    lacking = [
        f"{rank.name}/{stage}" for rank in ranks for stage in stages if not (rank / stage / PREDICTIONS).is_file()
    ]
    if lacking:
        raise UserError(f"{run}: no {PREDICTIONS} in {', '.join(lacking)}; copy the whole folders of all sites there")
    return stages


def _join_stage(run: Path, ranks: list[Path], stage: str) -> Path:
    parts = [read_stage(rank / stage) for rank in ranks]
    table = pd.concat([part.table.drop(columns=PERSON) for part in parts])
    features = np.concatenate([part.features for part in parts]).astype(np.float32)
    np.savez_compressed(run / stage / FEATURES, key=table["key"].to_numpy(str), features=features)
    _write(table, run / stage / PREDICTIONS)
    return run / stage


def _write(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, sep="\t", index=False, na_rep=MISSING)
