"""How well fresh probes tell the scanner from a stage's frozen features: everything that `probe.json` holds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from distunlearn.errors import UserError
from distunlearn.evaluate.sets import ScanSet, TooFew, held_out_splits, scan_sets
from distunlearn.evaluate.stage import Stage, read_stage
from distunlearn.probing.classifiers import PROBES, QUICK, Probe
from distunlearn.probing.collapse import collapse_check
from distunlearn.probing.folds import fitted_on
from distunlearn.probing.null import RIDGES, null
from distunlearn.probing.separability import Strongest, Told, mean_of, tell
from distunlearn.probing.travelling import as_dict, travelling_figures
from distunlearn.probing.verdict import verdict
from distunlearn.progress import Advance, progress
from distunlearn.run_folder import PROBE, stages_done, write_json


@dataclass(frozen=True)
class Effort:
    """How hard is tried: more probes and more resamples tell more, and take longer."""

    probes: Mapping[str, Probe]
    resamples: int
    permutations: int
    draws: int
    """Of the errors that are added to the label for the floor; one alone is a matter of luck."""
    scans: int
    """Of one site that are used at most."""


FULL = Effort(PROBES, resamples=2000, permutations=1999, draws=5, scans=600)
SHORT = Effort(QUICK, resamples=500, permutations=499, draws=3, scans=150)


def probe(stage_folder: Path, *, before: Path | None = None, quick: bool = False, seed: int = 0) -> dict[str, Any]:
    """Probe a stage and write `probe.json`.

    Args:
        stage_folder: RUN/STAGE with predictions and features.
        before: the stage to compare with, of this run or of another one on the same scans.
        quick: fewer probes, without settings to choose, fewer resamples and permutations; the same scans, folds and rules.
        seed: of folds, resamples and permutations.

    Raises:
        UserError: the stage has not been evaluated, or `before` holds other scans.
    """
    stage = read_stage(stage_folder)
    earlier = _checked(read_stage(before), stage) if before else None
    effort = SHORT if quick else FULL
    collapse = collapse_check(stage)
    sets = scan_sets(stage, seed=seed, most=effort.scans)
    if not (np.isfinite(stage.features).all() and stage.table["prediction"].notna().all()):
        sets = [TooFew(scans.name, "features or predictions are not finite") for scans in sets]
    with progress(f"Probing {stage.name}", len(sets) * 4, "parts") as advance:
        found = {scans.name: _examine(stage, earlier, scans, effort, seed=seed, advance=advance) for scans in sets}
    travelling = [scans for scans in sets if isinstance(scans, ScanSet) and scans.name == "travelling"]
    name, sentence = verdict(found, collapse, " and ".join(stage.label_names))
    result = {
        "stage": stage.name,
        "verdict": name,
        "sentence": sentence,
        "sites": list(stage.sites),
        "labels": list(stage.label_names),
        "sets": found,
        "collapse": collapse,
        "travellers": travelling_figures(stage, travelling[0]) if travelling else None,
        "obtained": _obtained(stage, effort, quick=quick, seed=seed),
    }
    write_json(stage_folder / PROBE, result)
    return result


def _checked(earlier: Stage, stage: Stage) -> Stage:
    same = earlier.sites == stage.sites and earlier.table[["key", "split"]].equals(stage.table[["key", "split"]])
    if not same:
        raise UserError(
            f"{earlier.folder}: other scans, splits or training sites than {stage.folder}; compare stages of one study"
        )
    return earlier


def _examine(
    stage: Stage, earlier: Stage | None, scans: ScanSet | TooFew, effort: Effort, *, seed: int, advance: Advance
) -> dict[str, Any]:
    if isinstance(scans, TooFew):
        advance(4)
        return {"too_few": scans.why}
    told = _tell(_of(stage, scans), scans, effort, seed)
    best = told.strongest
    advance()
    floors = {name: mean_of(draws) for name, draws in _floors(stage, scans, effort, seed).items()}
    advance()
    exchanged = null(_of(stage, scans), scans, permutations=effort.permutations, seed=seed)
    advance()
    flattered = _fitted_on_training(stage, scans, effort, seed)
    found: dict[str, Any] = {
        "how": scans.how,
        "scans": {site: int((scans.site == index).sum()) for index, site in enumerate(scans.sites)},
        "left_out": list(scans.left_out),
        "chance": 1 / len(scans.sites),
        "probes": {name: as_dict(interval) for name, interval in told.accuracy.items()},
        "strongest": {"probe": told.name} | as_dict(best.interval),
        "floor": {name: as_dict(floor.interval) for name, floor in floors.items()},
        "excess": as_dict(best.above(floors["label_with_error"])),
        "null": exchanged.figures() | {"probes": list(RIDGES)},
        "fitted_on_training": as_dict(flattered.interval) if flattered else None,
    }
    if earlier:
        was = _tell(_of(earlier, scans), scans, effort, seed)
        found["before"] = {"stage": earlier.name, "probe": was.name} | as_dict(was.strongest.interval)
        found["change"] = as_dict(best.above(was.strongest))
    advance()
    return found


def _of(stage: Stage, scans: ScanSet) -> Float[ndarray, "n F"]:
    features: ndarray = stage.features[scans.rows]
    return features


def _tell(features: Float[ndarray, "n F"], scans: ScanSet, effort: Effort, seed: int) -> Told:
    return tell(features, scans, probes=effort.probes, resamples=effort.resamples, seed=seed)


def _floors(stage: Stage, scans: ScanSet, effort: Effort, seed: int) -> dict[str, list[Strongest]]:
    """What the label tells alone, and with the model's errors on these scans dealt out anew, several times over."""
    rng = np.random.default_rng(seed)
    errors = np.zeros_like(scans.labels)
    errors[:, 0] = stage.table["prediction"].to_numpy(float)[scans.rows] - scans.labels[:, 0]
    noisy = [scans.labels + rng.permutation(errors) for _ in range(effort.draws)]
    seen = {"label": [scans.labels], "label_with_error": noisy}
    return {name: [_tell(label, scans, effort, seed).strongest for label in labels] for name, labels in seen.items()}


def _fitted_on_training(stage: Stage, scans: ScanSet, effort: Effort, seed: int) -> Strongest | None:
    """What quick probes tell that were fitted on the encoder's own training scans; None where a site has none.

    For comparison only: of those scans the encoder may have unlearned the site by heart.
    """
    sites = stage.table["site"].to_numpy()
    rng, train = np.random.default_rng(seed), (stage.table["split"] == "train").to_numpy()
    rows = [rng.permutation(np.flatnonzero(train & (sites == site)))[: effort.scans] for site in scans.sites]
    if not all(map(len, rows)):
        return None
    known = stage.features[np.concatenate(rows)], np.repeat(np.arange(len(rows)), list(map(len, rows)))
    hits = fitted_on(known, _of(stage, scans), scans.site, probes=QUICK)
    return Told(scans, hits, effort.resamples, seed).strongest


def _obtained(stage: Stage, effort: Effort, *, quick: bool, seed: int) -> dict[str, Any]:
    settings = {name: value for name, value in asdict(effort).items() if name != "probes"}
    return {
        "quick": quick,
        "seed": seed,
        "probes": list(effort.probes),
        "splits": list(held_out_splits(stage)),
        **settings,
    }


def probe_run(
    run: Path, *, only: str | None = None, before: Path | None = None, quick: bool = False, seed: int = 0
) -> dict[str, str]:
    """Probe the stages of a run, each against the one before it unless told otherwise.

    Args:
        run: run folder.
        only: name of the one stage to probe; all if None.
        before: RUN/STAGE to compare with instead.
        quick: see `probe`.
        seed: see `probe`.

    Returns:
        The verdict's sentence of each stage.

    Raises:
        UserError: no such run or stage, nothing evaluated, or `before` holds other scans.
    """
    stages = stages_done(run)
    if only is not None and only not in {stage.name for stage in stages}:
        raise UserError(
            f"{run}: no stage {only!r} has been evaluated; there are {', '.join(stage.name for stage in stages)}"
        )
    sentences = {}
    for stage, earlier in zip(stages, (None, *stages), strict=False):
        if only in {None, stage.name}:
            sentences[stage.name] = probe(stage, before=before or earlier, quick=quick, seed=seed)["sentence"]
    return sentences
