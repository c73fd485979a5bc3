"""How a step scales over ranks, and where its time goes: weak and strong, waiting for data, communication.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py SHARDS [--ranks 2] [--batch 24] [--steps 8] [--set …]

Steps of unlearning of a real run on SHARDS, from its loader to its optimisers, on processes of this machine. Strong: the
same global batch on more ranks. Weak: a batch that grows with them. `sending` is what DDP itself clocks between the
first bucket that leaves and the last that is back; `in the open` is the part of it after the backward pass is over.
"""

import argparse
import time
from collections.abc import Iterable
from typing import Any

from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

from distunlearn.config import RunConfig, load
from distunlearn.engine.meter import Meter
from distunlearn.engine.step import take_step
from distunlearn.engine.train import joined
from distunlearn.engine.updates import build_updates
from distunlearn.methods import phases_of

Found = dict[str, float]
WARM_UP = 2
STAGE = 1
"""Of the preset: unlearning."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2])
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    given = parser.parse_args()
    print(
        "| | ranks | batch | s a step | scans/s | CPU s a scan | to one rank | waiting for data | sending | in the open |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    rows = [("one rank", 1, given.batch)]
    rows += [("strong", ranks, given.batch) for ranks in given.ranks]
    rows += [("weak", ranks, given.batch * ranks) for ranks in given.ranks]
    alone = 0.0
    for name, ranks, batch in rows:
        fixed = (f"shards={given.shards}", f"data.batch={batch}", "tracking.enabled=false")
        found = measured(load(None, preset=given.preset, overrides=(*fixed, *given.overrides)), ranks, given.steps)
        a_scan = found["cpu"] / batch
        alone = alone or a_scan
        shares = [f"{100 * found[part] / found['step']:.1f} %" for part in ("waiting", "sending", "open")]
        told = " | ".join(shares if ranks > 1 else [shares[0], "", ""])
        print(
            f"| {name} | {ranks} | {batch} | {found['step']:.2f} | {batch / found['step']:.2f} | {a_scan:.3f} "
            f"| {a_scan / alone:.2f} | {told} |",
            flush=True,
        )


def measured(config: RunConfig, ranks: int, steps: int) -> Found:
    """Seconds a step on so many ranks: means over ranks, except `cpu`, which is the sum."""
    launch = LaunchConfig(
        1, 1, ranks, run_id="scaling", rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="forkserver"
    )
    found = elastic_launch(launch, on_rank)(config.model_dump(), steps).values()
    return {name: sum(each[name] for each in found) / (1 if name == "cpu" else ranks) for name in next(iter(found))}


def on_rank(config: dict[str, Any], steps: int) -> Found:
    """This rank's seconds a step."""
    with joined(RunConfig(**config)) as (job, _):
        stage, network = job.config.stages[STAGE], job.network
        reducing = [part for part in network.parts.values() if isinstance(part, DistributedDataParallel)]
        for part in reducing:
            part._set_ddp_runtime_logging_sample_rate(1)
        phases, updates = phases_of(stage.method), build_updates(stage, network, job.runtime)
        meter, began, cpu, before = Meter(job.runtime, updates), 0.0, 0.0, Found()
        for step, batches in enumerate(meter.waiting(job.steps(0, WARM_UP + steps))):
            if step == WARM_UP:
                meter.read(save=False, stop=False)
                before = sent(reducing)
                began, cpu = time.perf_counter(), time.process_time()
            meter.add(take_step(network, phases, batches, updates))
        spent, cpu = time.perf_counter() - began, time.process_time() - cpu
        figures = meter.read(save=False, stop=False).figures
        after = sent(reducing)
        return {
            "step": spent / steps, "cpu": cpu / steps, "waiting": figures["time/waiting_for_data"],
            **{name: (after[name] - before[name]) / steps for name in after},
        }  # fmt: skip


def sent(parts: Iterable[DistributedDataParallel]) -> Found:
    """Seconds so far in which gradients were under way, and those of them in which nothing else was done, as DDP logs them.

    It logs means over its passes, each pass when the next begins: differences leave out what came before, and the last
    pass of a part stands in the next difference.
    """
    found = {"sending": 0.0, "open": 0.0}
    for part in parts:
        log = part._get_ddp_logging_data()
        under_way, hidden = (
            log.get(name, 0) for name in ("avg_backward_comm_time", "avg_backward_compute_comm_overlap_time")
        )
        found["sending"] += 1e-9 * (log["iteration"] + 1) * under_way
        found["open"] += 1e-9 * (log["iteration"] + 1) * (under_way - hidden)
    return found


if __name__ == "__main__":
    main()
