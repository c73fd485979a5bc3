"""The model card: what a model was made of, what it can do, and what is not known of it, as Markdown."""

from pathlib import Path
from typing import Any

import pandas as pd

from distunlearn.evaluate.model import ModelCard
from distunlearn.evaluate.stage import PERSON, read_predictions, trained_sites
from distunlearn.evaluate.summary import FEWEST_PEOPLE
from distunlearn.inference.membership import AUDIT, STATEMENT
from distunlearn.run_folder import PROBE, SUMMARY, read_json
from distunlearn.shard_format import SPLITS

USE = """    distunlearn predict SCANS --run . --out predictions.tsv

Scans are prepared by that command as those of the training were; neither their site nor their age is needed. The features are
harmonised, not the images, and for this task only. This is no medical device."""


def card_text(stage_folder: Path, card: ModelCard) -> str:
    """The card of a stage's model.

    Args:
        stage_folder: its predictions, and summary, probe and audit where they were made.
        card: the model's.

    Raises:
        UserError: the stage has not been evaluated.
    """
    table = read_predictions(stage_folder)
    parts = {
        "Use": [USE],
        "Data": _data(table, trained_sites(stage_folder, table), simulated=card.simulated),
        "Preprocessing": [
            _listed(card.preprocessing),
            f"Scans prepared in another way are refused (digest `{card.preprocessing_digest}`).",
        ],
        "Model": [_listed(_model(card))],
        "Results": _results(_maybe(stage_folder / SUMMARY)),
        "Correction": _corrections(card),
        "Can the scanner be told?": _verdict(_maybe(stage_folder / PROBE)),
        "Limits": _limits(card, _maybe(stage_folder / AUDIT)),
    }
    title = f"# {', '.join(card.task.targets) or card.task.name} from brain MRI, stage {stage_folder.name}"
    return "\n\n".join([title, *(f"## {name}\n\n" + "\n\n".join(said) for name, said in parts.items())]) + "\n"


def _maybe(path: Path) -> dict[str, Any] | None:
    found: dict[str, Any] | None = read_json(path) if path.is_file() else None
    return found


def _listed(values: dict[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in values.items())


def _model(card: ModelCard) -> dict[str, Any]:
    told = {
        "encoder": card.encoder.model_dump(mode="json"),
        "task": card.task.model_dump(mode="json"),
        "unlearned": ", ".join(confound.name for confound in card.confounds),
        "shape of a scan": " × ".join(map(str, card.shape)),
    }
    voxels = " × ".join(f"{low:g} to {high:g}" for low, high in card.voxel_mm) or "not known"
    told |= {"voxel sizes of the training's files, mm": voxels}
    return told | {f"{name} of training": f"{low:g} to {high:g}" for name, (low, high) in card.target_range.items()}


def _data(table: pd.DataFrame, trained: tuple[str, ...], *, simulated: bool) -> list[str]:
    """People a site and split; the people of all splits of a site are different ones."""
    splits = [split for split in SPLITS if (table["split"] == split).any()]
    people = table.groupby(["site", "split"])[PERSON].nunique()
    lines = [f"| site | {' | '.join(splits)} |", "|---" * (len(splits) + 1) + "|"]
    for site in sorted(table["site"].unique()):
        counts = [int(people.get((site, split), 0)) for split in splits]
        shown = [f"< {FEWEST_PEOPLE}" if 0 < count < FEWEST_PEOPLE else str(count) for count in counts]
        lines.append(f"| {site}{'' if site in trained else ' (not trained on)'} | {' | '.join(shown)} |")
    told = "People of each site and split; splits are by person, and only `train` is trained on."
    return [
        told,
        "\n".join(lines),
        *(["**The scans were simulated: nothing here says anything of real brains.**"] * simulated),
    ]


def _results(summary: dict[str, Any] | None) -> list[str]:
    cells = summary["splits"].get("test", {}) if summary else {}
    if summary is None or not cells:
        return ["Not summarised: run `distunlearn evaluate` before the export."]
    lines = [
        f"| site | people | {summary['measure']} (SD) | 95% interval | one answer for all |",
        "|---|---|---|---|---|",
    ]
    for site, cell in cells.items():
        if "suppressed" in cell:
            lines.append(f"| {site} | {cell['suppressed']} | | | |")
            continue
        found, interval = f"{cell['error']:.2f} ({cell['sd']:.2f})", f"{cell['low']:.2f} to {cell['high']:.2f}"
        constant = "–" if cell["constant_error"] is None else f"{cell['constant_error']:.2f}"
        lines.append(f"| {site} | {cell['people']} | {found} | {interval} | {constant} |")
    answer = f" (the training's {summary['constant']})" if summary["constant"] else ""
    told = f"{summary['measure']} in {summary['unit']} of test people; the last column is that of one answer for everybody{answer}."
    return [told, "\n".join(lines)]


def _corrections(card: ModelCard) -> list[str]:
    if not card.corrections:
        return ["None: the task predicts no numbers, or the model is older than the correction."]
    return [
        f"{name}: (prediction - {fit.intercept:.4g}) / {fit.slope:.4g}, fitted on {fit.people} people of the validation split."
        if fit.slope is not None and fit.intercept is not None
        else f"{name}: none, {fit.why_not}."
        for name, fit in card.corrections.items()
    ]


def _verdict(probe: dict[str, Any] | None) -> list[str]:
    if probe is None:
        return ["**Not known.** Nobody has probed these features: run `distunlearn probe` before the export."]
    return [f"**{probe['sentence']}**", "That these probes cannot tell more does not prove that none could."]


def _limits(card: ModelCard, audit: dict[str, Any] | None) -> list[str]:
    attack = "Membership was not audited: run `distunlearn audit` before the export."
    if audit is not None and "auc" in audit["all"]:
        found = audit["all"]
        attack = f"Loss-threshold membership inference: AUC {found['auc']:.2f} (95% {found['low']:.2f} to {found['high']:.2f}); 0.5 tells nothing."
    ranges = [f"{name} {low:g} to {high:g}" for name, (low, high) in card.target_range.items()]
    return [
        f"- Trained on {', '.join(card.sites)} only{'; outside ' + ', '.join(ranges) + ' it extrapolates' if ranges else ''}.\n"
        "- Differences between the sites' people (health, sex, education) count as scanner.\n"
        f"- {attack}\n- {STATEMENT}"
    ]
