"""Time, memory and arithmetic of one unlearning step on a CUDA device, interleaved, as `step.py` has it for a CPU.

    python benchmarks/step_gpu.py [--rounds 10] [--size 128 128 32] [--batch 16]

The authors' network with group norm where nothing else is said, on random volumes of three sites, X_u = X_p. Every round takes one step of each row
in turn, timed by events of the device; medians. `host` is how long the host took to issue a step: as long as it is less
than the device's time, the device never waits for it. float32 products are exact (no TF32) unless a row says so.
"""

import argparse
import time

import torch
from step import Step, authors, batch, counted, limit, ours

from distunlearn.engine.share import RoleBatch


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--size", type=int, nargs=3, default=(128, 128, 32))
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    cpu = batch(given.batch, tuple(given.size))
    scans = RoleBatch(cpu.batch.to("cuda"), cpu.subjects.cuda())
    plain: dict[str, Step] = {
        "limit: two forwards and backwards of the encoder": limit(scans),
        "the authors' schedule, mended": authors(scans),
        "the paper's three forwards": ours(scans, share=False),
        "ours: X_u encoded once": ours(scans),
    }
    levers: dict[str, Step] = {
        "ours, TF32": ours(scans),
        "ours, bf16": ours(scans, precision="bf16"),
        "the paper's three forwards, bf16": ours(scans, share=False, precision="bf16"),
        "ours, bf16, channels last": ours(scans, precision="bf16", channels_last=True),
        "ours, batch norm, bf16": ours(scans, norm="sync", precision="bf16"),
        "ours, batch norm, bf16, channels last": ours(scans, norm="sync", precision="bf16", channels_last=True),
        "ours, TF32, compiled": ours(scans, compile=True),
        "ours, bf16, compiled": ours(scans, precision="bf16", compile=True),
        "ours, batch norm, bf16, compiled": ours(scans, norm="sync", precision="bf16", compile=True),
        "ours, batch norm, bf16, channels last, compiled": ours(
            scans, norm="sync", precision="bf16", channels_last=True, compile=True
        ),
    }
    torch.backends.cudnn.allow_tf32 = False
    rows = measured(plain, given.rounds)
    torch.backends.cudnn.allow_tf32 = True
    rows |= measured(levers, given.rounds)
    torch.backends.cudnn.benchmark = False
    rows |= measured({"ours, bf16, kernels not tried out": ours(scans, precision="bf16")}, given.rounds)
    reference = rows["the paper's three forwards"][0]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {given.batch} of {given.size}\n")
    print(
        "| step | ms | to three forwards | scans/s | host ms | peak GiB | GFLOP | TFLOP/s |",
        "|---|" + "--:|" * 7,
        sep="\n",
    )
    for name, (device, host, memory, flops) in rows.items():
        print(
            f"| {name} | {1e3 * device:.1f} | {device / reference:.2f} | {given.batch / device:.0f} | {1e3 * host:.1f} "
            f"| {memory / 2**30:.1f} | {flops / 1e9:.0f} | {flops / device / 1e12:.0f} |"
        )


def measured(steps: dict[str, Step], rounds: int) -> dict[str, tuple[float, float, int, int]]:
    """Seconds of the device and of the host, bytes at the peak, and FLOPs of each step; medians of interleaved rounds."""
    flops = {name: counted(step) for name, step in steps.items() if "compiled" not in name}
    flops |= {name: flops[name.removesuffix(", compiled")] for name in steps if "compiled" in name}
    for step in steps.values():  # further warm-up: compilation, choice of kernels
        step()
        step()
    peaks, taken = dict.fromkeys(steps, 0), {name: list[tuple[float, float]]() for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began = time.perf_counter()
            begun.record()
            step()
            ended.record()
            host = time.perf_counter() - began
            ended.synchronize()
            taken[name].append((begun.elapsed_time(ended) / 1e3, host))
            peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated() - held)
    medians = {name: torch.tensor(each).median(dim=0).values.tolist() for name, each in taken.items()}
    return {name: (*medians[name], peaks[name], flops[name]) for name in steps}


if __name__ == "__main__":
    main()
