"""CPU time and arithmetic of one unlearning step, interleaved: the authors' loop, the paper's three forwards, ours, each lever.

    OMP_NUM_THREADS=1 python benchmarks/step.py [--rounds 5] [--size 128 128 32] [--batch 16]

The authors' network with group norm on random volumes of three sites, X_u = X_p. Every round takes one step of each in
turn; the table gives medians of process CPU time, and FLOPs as torch counts them in the first step, which also warms up
(a compiled encoder's arithmetic is that of the eager one and is not counted again). The limit is the task's forward and
backward pass and the confusion's, which no schedule of two encoder updates can do without.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from distunlearn.batch import Batch
from distunlearn.config import EngineConfig, StageConfig
from distunlearn.engine.network import Network
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.share import RoleBatch
from distunlearn.engine.step import take_step
from distunlearn.engine.updates import build_updates
from distunlearn.methods import Confound, UnlearningConfig, phases_of
from distunlearn.models import DomainHeadConfig, DomainHeads, HeadConfig, TaskHead, VggConfig, build_encoder
from distunlearn.models.norm import Norm
from distunlearn.objectives import confusion
from distunlearn.tasks import Regression, RegressionConfig

SITES = 3
AUTHORS = VggConfig(channels=(32, 64, 64, 96, 96, 96), convolutions=(2, 2, 2, 3, 3, 3), features=96, norm="group")
Step = Callable[[], None]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=3, default=(128, 128, 32))
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    scans = batch(given.batch, tuple(given.size))
    steps = {
        "limit: two forwards and backwards of the encoder": limit(scans),
        "the authors' schedule, mended": authors(scans),
        "the paper's three forwards": ours(scans, share=False),
        "ours: X_u encoded once": ours(scans),
        "ours, fused optimisers": ours(scans, fused=True),
        "ours, channels last": ours(scans, channels_last=True),
        "ours, bf16": ours(scans, precision="bf16"),
        "ours, bf16, channels last": ours(scans, precision="bf16", channels_last=True),
        "ours, in 2 pieces": ours(scans, pieces=2),
        "ours: X_u encoded once, compiled": ours(scans, compile=True),
        "ours, bf16, channels last, compiled": ours(scans, precision="bf16", channels_last=True, compile=True),
    }
    flops = {name: counted(step) for name, step in steps.items() if "compiled" not in name}
    for name in steps.keys() - flops.keys():
        steps[name]()
        flops[name] = flops[name.removesuffix(", compiled")]
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(given.rounds):
        for name, step in steps.items():
            began = time.process_time()
            step()
            taken[name].append(time.process_time() - began)
    least = next(iter(flops.values()))
    medians = {name: float(torch.tensor(each).median()) for name, each in taken.items()}
    reference = medians["the paper's three forwards"]
    print("| step | CPU s | to three forwards | GFLOP | to the limit |", "|---|--:|--:|--:|--:|", sep="\n")
    for name, seconds in medians.items():
        print(
            f"| {name} | {seconds:.2f} | {seconds / reference:.2f} | {flops[name] / 1e9:.1f} | {flops[name] / least:.2f} |"
        )


def counted(step: Step) -> int:
    """FLOPs of a step; its first, which also warms up."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def batch(scans: int, size: tuple[int, ...]) -> RoleBatch:
    """Random scans of three sites."""
    torch.manual_seed(0)
    domain = torch.arange(scans) % SITES
    values = torch.randn(scans, 1, *size)
    return RoleBatch(
        Batch(values, torch.ones(scans), torch.arange(scans), domain, torch.randn(scans, 1)), torch.bincount(domain)
    )


def parts(size: tuple[int, ...], norm: Norm = "group") -> dict[str, nn.Module]:
    """The authors' network, the same for all."""
    torch.manual_seed(0)
    encoder = build_encoder(AUTHORS.model_copy(update={"norm": norm}), size)
    task_head, domain_head = TaskHead(HeadConfig(), 96, 1), DomainHeads(DomainHeadConfig(), encoder.widths, SITES)
    return {"encoder": encoder, "task_head": task_head, "domain_head": domain_head}


def ours(scans: RoleBatch, *, share: bool = True, pieces: int = 1, norm: Norm = "group", **engine: object) -> Step:
    """A step of this package."""
    runtime = Runtime(EngineConfig(**engine))  # type: ignore[arg-type]
    wrapped = {name: runtime.wrap(part) for name, part in parts(tuple(scans.batch.volume.shape[2:]), norm).items()}
    if runtime.config.compile:
        wrapped["encoder"].compile()
    task = Regression(RegressionConfig(), torch.zeros(1), torch.ones(1))
    network = Network(wrapped, task, {"site": Confound.site(SITES)}, ("age",), runtime.precision)
    method = UnlearningConfig(share_forward=share)
    updates, phases = build_updates(StageConfig(name="s", method=method), network, runtime), phases_of(method)
    return lambda: take_step(network, phases, {"main": scans, "unlearn": scans}, updates, pieces=pieces) and None


def authors(scans: RoleBatch) -> Step:
    """Their schedule: task, domain, confusion with an Adam each; mended by encoding anew where their graph is stale.

    As theirs it back-propagates the domain loss through the encoder, although only the head is then updated.
    """
    net, (values, _, _, domain, target, _) = parts(tuple(scans.batch.volume.shape[2:])), scans.batch
    encoder, task_head, domain_head = (part.to(values.device) for part in net.values())
    both = Adam([*encoder.parameters(), *task_head.parameters()])
    of_head, of_encoder = Adam(domain_head.parameters()), Adam(encoder.parameters())

    def step() -> None:
        for optimiser, loss in (
            (both, lambda: F.mse_loss(task_head(encoder(values)), target)),
            (of_head, lambda: F.cross_entropy(domain_head(encoder(values))[:, 0], domain)),
            (of_encoder, lambda: confusion(domain_head(encoder(values))[:, 0]).mean()),
        ):
            for part in net.values():
                part.zero_grad()
            loss().backward()
            optimiser.step()

    return step


def limit(scans: RoleBatch) -> Step:
    """Two forward and backward passes of the encoder, and nothing else."""
    encoder = parts(tuple(scans.batch.volume.shape[2:]))["encoder"].to(scans.batch.volume.device)

    def step() -> None:
        for _ in range(2):
            encoder(scans.batch.volume).sum().backward()

    return step


if __name__ == "__main__":
    main()
