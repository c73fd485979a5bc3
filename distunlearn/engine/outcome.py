"""What the network can do: validation at the end of an epoch, predictions and features at the end of a stage.

Dimensions: `N` domains.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from distunlearn.engine.job import Job
from distunlearn.engine.record import Record
from distunlearn.evaluate.age_bias import fit_corrections
from distunlearn.evaluate.applicability import Seen, ranges, voxel_ranges
from distunlearn.evaluate.model import save_model
from distunlearn.evaluate.predictions import Predictions, predict, write_predictions
from distunlearn.run_folder import MODEL, SCANS
from distunlearn.shard_format import MISSING, SPLITS, Range


@torch.inference_mode()
def validate(job: Job) -> dict[str, float]:
    """How good the task's predictions are on each site's validation scans, and how often the domain head is right.

    Only sums and counts cross ranks.

    Returns:
        Of each figure of the task, such as mae, `val/mae/SITE` and `val/mae`, the mean over sites; `val/spread`, the
        SD of predictions within sites as a share of the targets'; and `val/domain_head`, the balanced accuracy with
        which the heads in the loop name the site. That last one is no evidence of anything: fresh probes are.
    """
    model = job.model()
    names = model.task.figure_names
    model.set_training(False)
    sums = torch.zeros(2 * len(names) + 7, len(job.study.sites), device=job.runtime.device)
    for batch in job.evaluation("val"):
        output, _ = model(batch.volume)
        truth = model.task.truth(batch)
        figures = model.task.figures(output, truth).float()
        right = (model.told_domain(batch.volume) == batch.domain).float()
        told = _powers(model.task.rows(output, truth)[:, :2].float())
        rows = [*figures.nan_to_num().T, *(~figures.isnan()).float().T, *told.T, right, torch.ones_like(right)]
        sums.index_add_(1, batch.domain, torch.stack(rows))
    model.set_training(True)
    of_all = job.runtime.sum(job.hosting.speakable(sums)).cpu()
    of_task, powers, (right, count) = of_all[: 2 * len(names)], of_all[2 * len(names) : -2], of_all[-2:]
    found = _spread(powers)
    if count.any():
        found["val/domain_head"] = (right / count)[count > 0].mean().item()
    for index, name in enumerate(names):
        found |= _figures(f"val/{name}", of_task[index], of_task[index + len(names)], job.study.sites)
    return found


def _powers(told: Float[Tensor, "B 2"]) -> Float[Tensor, "B 5"]:
    """1, target, prediction and their squares of each scan whose target is known; zeros of the others."""
    known = told.isfinite().all(dim=1, keepdim=True)
    told = torch.where(known, told, 0.0)
    return torch.cat([known.float(), told, told.square()], dim=1)


def _spread(powers: Float[Tensor, "5 N"]) -> dict[str, float]:
    """SD of predictions over that of targets, within sites; nothing where a site's people are all alike."""
    count = powers[0]
    mean, square = powers[1:3] / count.clamp_min(1), powers[3:] / count.clamp_min(1)
    target, prediction = (square - mean.square())[:, count > 1].clamp_min(0).mean(dim=1)
    return {"val/spread": (prediction / target).sqrt().item()} if target > 0 else {}


def _figures(
    name: str, sums: Float[Tensor, " N"], count: Float[Tensor, " N"], sites: tuple[str, ...]
) -> dict[str, float]:
    seen = count > 0
    if not seen.any():
        return {}
    means = sums / count.clamp_min(1)
    by_site = {f"{name}/{site}": means[index].item() for index, site in enumerate(sites) if seen[index]}
    return by_site | {name: means[seen].mean().item()}


def finish_stage(job: Job, record: Record, stage: str) -> None:
    """Write a stage's model, and its predictions and features of every scan, those of training for comparison only.

    In federated placement every rank writes those of its own scans into a folder of its own, and nothing is sent.
    """
    model = job.model()
    model.set_training(False)
    seen = Seen({int(row) for chosen in job.chosen.values() for row in chosen.rows})
    batches = (seen.watch(job.evaluation(split)) for split in SPLITS)
    rows = torch.cat([predict(model, of_split, job.runtime.device).packed() for of_split in batches])
    if job.hosting.federated:
        _write_own(job, record, stage, rows)
    else:
        rows, ends = job.runtime.gather_rows(rows), job.runtime.gather_rows(seen.ends.to(job.runtime.device)).cpu()
        if job.runtime.is_main:
            folder = record.run / stage
            write_predictions(folder, job.study, Predictions.unpacked(rows, len(model.task.columns)), model.task)
            seen_of_files = {"looks": ranges(ends), "voxel_mm": voxel_ranges(_voxel_sizes(job))}
            fitted = {"corrections": fit_corrections(folder, model.task), **seen_of_files}
            save_model(folder / MODEL, model.card.model_copy(update=fitted), model.parts)
    model.set_training(True)
    job.runtime.wait()


def _voxel_sizes(job: Job) -> list[tuple[Range, ...]]:
    """Of every site that some role trains on."""
    counts = zip(*(chosen.counts for chosen in job.chosen.values()), strict=True)
    return [job.study.voxel_mm[site] for site, of_roles in zip(job.study.sites, counts, strict=True) if any(of_roles)]


def _write_own(job: Job, record: Record, stage: str, rows: Float[Tensor, "n K"]) -> None:
    """What a federated rank writes of its own scans; the card goes without what only single scans could tell."""
    model, own = job.model(), job.hosting.own_folder(record.run) / stage
    write_predictions(own, job.study, Predictions.unpacked(rows, len(model.task.columns)), model.task)
    save_model((record.run / stage if job.runtime.is_main else own) / MODEL, model.card, model.parts)


def about_scans(job: Job) -> list[str]:
    """How many scans of each site take part in which role, which were left out, and what is doubtful about it, for people."""
    roles: dict[int, list[str]] = {}
    for role, chosen in job.chosen.items():
        roles.setdefault(id(chosen), []).append(role)
    alike = [(names, job.chosen[names[0]]) for names in roles.values()]
    return [
        f"{', '.join(names)}: {line}" for names, chosen in alike for line in (*chosen.description, *chosen.warnings)
    ]


def write_scans(job: Job, record: Record) -> None:
    """Say and write to scans.tsv which scans take part, in which role, with their labels; a federated rank its own."""
    for line in about_scans(job):
        record.say(line)
    if not (record.is_main or job.hosting.federated):
        return
    folder = job.hosting.own_folder(record.run)
    folder.mkdir(parents=True, exist_ok=True)
    table = job.study.table
    labels = list(job.study.labels)
    scans = table[["key", "site", "split"]].copy()
    for role, chosen in job.chosen.items():
        scans[role] = np.isin(np.arange(len(scans)), chosen.rows).astype(int)
    pd.concat([scans, table[labels]], axis=1).to_csv(folder / SCANS, sep="\t", index=False, na_rep=MISSING)
