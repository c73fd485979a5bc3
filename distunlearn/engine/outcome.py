"""What the network can do: validation at the end of an epoch, predictions and features at the end of a stage.

Dimensions: `N` domains.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from distunlearn.engine.job import Job, rows_with_target
from distunlearn.engine.record import Record
from distunlearn.evaluate.model import Model, save_model
from distunlearn.evaluate.predictions import Predictions, predict, write_predictions
from distunlearn.run_folder import MODEL, SCANS
from distunlearn.shard_format import MISSING, PLACE_COLUMNS, SPLITS


@torch.inference_mode()
def validate(job: Job) -> dict[str, float]:
    """Error of each site's validation scans, their mean over sites, and how often the domain head is right.

    Only sums and counts cross ranks.

    Returns:
        `val/mae/SITE` in the target's unit, `val/mae` their mean over sites, and `val/domain_head`, the share of scans
        whose site the head in the loop names. That last one is no evidence of anything: fresh probes are.
    """
    model = job.model()
    parts = (model.encoder, model.task_head, model.domain_head)
    for part in parts:
        part.eval()
    sums = torch.zeros(3, len(job.study.sites), device=job.runtime.device)  # error, count, domain head right
    for batch in job.evaluation("val"):
        prediction, features = model(batch.volume)
        sums[0].index_add_(0, batch.domain, model.task.error(prediction, batch.target))
        sums[1].index_add_(0, batch.domain, torch.ones_like(batch.domain, dtype=sums.dtype))
        sums[2].index_add_(0, batch.domain, (model.domain_head(features).argmax(dim=1) == batch.domain).to(sums.dtype))
    for part in parts:
        part.train()
    return _figures(job.runtime.sum(sums).cpu(), job.study.sites)


def _figures(sums: Float[Tensor, "3 N"], sites: tuple[str, ...]) -> dict[str, float]:
    error, count, right = sums
    seen = count > 0
    if not seen.any():
        return {}
    mae = error / count.clamp_min(1)
    by_site = {f"val/mae/{site}": mae[index].item() for index, site in enumerate(sites) if seen[index]}
    return by_site | {"val/mae": mae[seen].mean().item(), "val/domain_head": (right.sum() / count.sum()).item()}


def finish_stage(job: Job, record: Record, stage: str) -> None:
    """Write a stage's model, and its predictions and features of every scan, those of training for comparison only."""
    model = job.model()
    for part in (model.encoder, model.task_head, model.domain_head):
        part.eval()
    mine = [predict(model, job.evaluation(split), job.runtime.device).packed() for split in SPLITS]
    gathered = job.runtime.gather_rows(torch.cat(mine))
    if job.runtime.is_main:
        folder = record.run / stage
        targets = job.config.task.targets
        write_predictions(folder, job.study, Predictions.unpacked(gathered, len(targets)), targets)
        save_model(
            folder / MODEL,
            model.card,
            {"encoder": model.encoder, "task_head": model.task_head, "domain_head": model.domain_head},
        )
    for part in (model.encoder, model.task_head, model.domain_head):
        part.train()
    job.runtime.wait()


def write_scans(job: Job, record: Record) -> None:
    """Write scans.tsv: which scans take part in the run, in which role, with their labels."""
    if not record.is_main:
        return
    table = job.study.table
    labels = [name for name in table.columns if name not in {*PLACE_COLUMNS, "site", "domain"}]
    scans = table[["key", "site", "split"]].copy()
    for role, chosen in job.chosen.items():
        scans[role] = np.isin(np.arange(len(scans)), chosen.rows).astype(int)
    pd.concat([scans, table[labels]], axis=1).to_csv(record.run / SCANS, sep="\t", index=False, na_rep=MISSING)
