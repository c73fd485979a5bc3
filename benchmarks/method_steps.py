"""CPU time and arithmetic of one step of every method, interleaved: what a method costs, whatever else the machine does.

    OMP_NUM_THREADS=1 python benchmarks/method_steps.py [--rounds 12]

The demonstration's encoder on random 32×40×16 volumes, three sites, batch 24, X_u = X_p and X_u of its own. Every round
takes one step of each method in turn; the table gives medians of process CPU time and FLOPs as torch counts them, both
as a share of those of the paper's three updates.
"""

import argparse
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from distunlearn.batch import Batch
from distunlearn.config import EngineConfig, StageConfig
from distunlearn.engine.network import Network
from distunlearn.engine.runtime import Runtime
from distunlearn.engine.share import RoleBatch
from distunlearn.engine.step import take_step
from distunlearn.engine.updates import build_updates
from distunlearn.methods import (
    AlignmentConfig,
    Confound,
    JointConfig,
    MethodConfig,
    ReversalConfig,
    StandardConfig,
    UnlearningConfig,
    phases_of,
)
from distunlearn.models import DomainHeadConfig, DomainHeads, HeadConfig, TaskHead, VggConfig, build_encoder
from distunlearn.tasks import Regression, RegressionConfig

SHAPE, SITES, SCANS = (32, 40, 16), 3, 24
METHODS: dict[str, MethodConfig] = {
    "unlearning, as the paper encodes": UnlearningConfig(share_forward=False),
    "unlearning, X_u encoded once": UnlearningConfig(),
    "joint, 5 head steps": JointConfig(),
    "gradient reversal": ReversalConfig(),
    "conditional alignment": AlignmentConfig(),
    "standard, heads watching": StandardConfig(),
    "standard": StandardConfig(domain_head=False),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    print(
        "| method | X_u is X_p | to the first | FLOPs | X_u of its own | to the first | FLOPs |",
        "|---|" + "--:|" * 6,
        sep="\n",
    )
    found = [measured(rounds, distinct=distinct) for distinct in (False, True)]
    for name in METHODS:
        cells = [f"{1000 * s[name]:.0f} ms | {s[name] / first(s):.2f} | {f[name] / first(f):.2f}" for s, f in found]
        print(f"| {name} | {' | '.join(cells)} |")


def first(found: dict[str, float]) -> float:
    """The figure of the paper's updates."""
    return next(iter(found.values()))


def measured(rounds: int, *, distinct: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Median CPU seconds, and FLOPs, of a step of each method."""
    main_scans = batch(0)
    roles = {"main": main_scans, "unlearn": batch(1) if distinct else main_scans}
    made = {name: network() for name in METHODS}
    runtime = Runtime(EngineConfig())
    updates = {
        name: build_updates(StageConfig(name="s", method=method), made[name], runtime)
        for name, method in METHODS.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in METHODS}
    flops: dict[str, float] = {}
    for name, method in METHODS.items():  # the first step, which also warms up
        with FlopCounterMode(display=False) as counter:
            take_step(made[name], phases_of(method), roles, updates[name])
        flops[name] = counter.get_total_flops()
    for _ in range(rounds):
        for name, method in METHODS.items():
            began = time.process_time()
            take_step(made[name], phases_of(method), roles, updates[name])
            taken[name].append(time.process_time() - began)
    return {name: float(torch.tensor(each).median()) for name, each in taken.items()}, flops


def batch(seed: int) -> RoleBatch:
    """Random scans."""
    torch.manual_seed(seed)
    domain = torch.arange(SCANS) % SITES
    scans = Batch(
        torch.randn(SCANS, 1, *SHAPE), torch.ones(SCANS), torch.arange(SCANS), domain, 20 + 60 * torch.rand(SCANS, 1)
    )
    return RoleBatch(scans, torch.bincount(domain))


def network() -> Network:
    """The demonstration's encoder and heads."""
    torch.manual_seed(0)
    encoder = build_encoder(VggConfig(channels=(8, 16, 32, 32), convolutions=(1, 2, 2, 2), features=32), SHAPE)
    parts = {
        "encoder": encoder,
        "task_head": TaskHead(HeadConfig(), encoder.width, 1),
        "domain_head": DomainHeads(DomainHeadConfig(), encoder.widths, SITES),
    }
    task = Regression(RegressionConfig(), torch.tensor([50.0]), torch.tensor([17.0]))
    return Network(parts, task, {"site": Confound.site(SITES)}, ("age",))


if __name__ == "__main__":
    main()
