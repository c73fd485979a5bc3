"""One rank of a small training run over the package's data layer alone, with leaks behind it; started by test_federated.py."""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from leaks import LEAKS, exchange, mark
from torch import Tensor

from distunlearn.batch import Batch
from distunlearn.errors import UserError
from distunlearn.streaming.loader import Loader
from distunlearn.streaming.manifest import read_study
from distunlearn.streaming.placement import Placement
from distunlearn.streaming.select import select
from distunlearn.streaming.selection import Selection

SITES = ("biobank", "oasis")
STEPS = 6
HIDDEN = 4
UNLEARN = Selection(rule="matched", bounds=(40, 70), width=15)


def make_loader(root: Path, placement: Placement, rank: int, world_size: int) -> Loader[str]:
    """The data of a rank, as an engine makes it."""
    study = read_study(root, SITES, hosted=placement.hosted(SITES, rank, world_size))
    share = placement.share(SITES, rank, world_size, add_up)
    main = select(study, Selection(), split="train", needs=("age",), share=share)
    unlearn = select(study, UNLEARN, split="train", within=main, share=share)
    plans = main.plan(7, seed=3, role="main", quota="proportional"), unlearn.plan(6, seed=3, role="unlearn")
    roles = {"main": (main, plans[0]), "unlearn": (unlearn, plans[1])}
    return Loader(study, roles, rank=rank, world_size=world_size, placement=placement, target=("age",))


def add_up(values: Tensor) -> Tensor:
    """A sum over ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def first_weights(voxels: int) -> dict[str, Tensor]:
    """An encoder and two heads, the same on every rank."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"encoder": (HIDDEN, voxels), "task_head": (1, HIDDEN), "domain_head": (len(SITES), HIDDEN)}
    return {
        name: (0.02 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()
        for name, shape in shapes.items()
    }


def take_step(weights: dict[str, Tensor], roles: dict[str, Batch], loader: Loader[str], step: int) -> None:
    """Eq. (1) and (2) over the global batch: local sums, weighted by global counts, and gradients added up over ranks."""
    loss = torch.zeros((), dtype=torch.float64)
    for role, read in roles.items():
        batch = read.to("cpu")
        features = torch.tanh(batch.volume.double().flatten(1) @ weights["encoder"].T)
        each = 1 / torch.from_numpy(loader.roles[role][1].counts(step)).double()[batch.domain]
        if role == "main":
            loss = loss + (each * (features @ weights["task_head"].T - batch.target / 50).square()[:, 0]).sum()
        else:
            logits = features @ weights["domain_head"].T
            loss = loss + (each * torch.nn.functional.cross_entropy(logits, batch.domain, reduction="none")).sum()
    gradients = torch.autograd.grad(loss, list(weights.values()))
    for weight, gradient in zip(weights.values(), gradients, strict=True):
        weight.data -= 0.05 * add_up(gradient.contiguous())


def begin(phase: str) -> None:
    """Mark a phase; the barrier keeps the phases of the ranks apart."""
    dist.barrier()
    mark(phase)
    dist.barrier()


def train(root: Path, placement: Placement, out: Path, leaks: bool) -> None:
    """Train, keep the weights and which sites' files were opened, then leak on purpose where asked to."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    opened: set[str] = set()
    sys.addaudithook(
        lambda event, told: (
            opened.add(Path(str(told[0])).parent.name)
            if event == "open" and str(told[0]).startswith(f"{root}/")
            else None
        )
    )
    # Everything is read before ranks meet, so that a rank that may not read ends at once.
    if placement.kind == "pooled":
        read_study(root, SITES)
    dist.init_process_group("gloo", init_method=f"file://{out}/store", rank=rank, world_size=world_size)
    loader = make_loader(root, placement, rank, world_size)
    weights = first_weights(int(np.prod(loader.study.shape)))
    begin("clean")
    for step, roles in enumerate(loader.batches(0, STEPS)):
        take_step(weights, roles, loader, step)
    begin("done")
    torch.save(weights, out / f"weights{rank}.pt")
    (out / f"opened{rank}").write_text(" ".join(sorted(opened)))
    (out / f"digest{rank}").write_text(loader.digest())
    batch = next(loader.batches(STEPS, STEPS + 1))["unlearn"].to("cpu")
    for name, leak in LEAKS.items() if leaks else ():
        begin(name)
        exchange(leak(batch))
    begin("end")
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--placement", default="federated")
    parser.add_argument("--leaks", action="store_true")
    arguments = parser.parse_args()
    try:
        train(arguments.root, Placement(kind=arguments.placement), arguments.out, arguments.leaks)
    except UserError as error:
        sys.exit(f"refused: {error}")
