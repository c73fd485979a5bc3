"""What tracking costs a training: CPU seconds of the training process and waiting time, as a table for docs/benchmarks.md.

    python benchmarks/tracking.py --rounds 5

Each contender runs the same loop in a process of its own: a step of real work, then twelve figures are logged. They take
turns, round by round, and the median of the rounds counts. `nothing` writes metrics.jsonl only, which all of ours do.
`mlflow` and `mlflow async` are the library's own calls in the training process. The hung server accepts connections and
never answers; with it the library's own calls wait for minutes, so they are not run.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

FIGURES = {f"val/mae/site-{n}": 0.5 for n in range(12)}
STEPS = 400
Log = Callable[[int], None]


def nothing(run: Path) -> tuple[Log, Callable[[], None]]:
    """Only the file that is the record."""
    file = (run / "metrics.jsonl").open("a")

    def log(step: int) -> None:
        file.write(json.dumps({"time": time.time(), "stage": "s", "epoch": 0, "step": step, **FIGURES}) + "\n")
        file.flush()

    return log, file.close


def ours(run: Path) -> tuple[Log, Callable[[], None]]:
    """The file, and the mirror that follows it."""
    from distunlearn.tracking import Tracker

    tracker = Tracker.open(run, enabled=True, experiment="e", run_name="r", params={}, tags={})
    log, _ = nothing(run)
    return log, lambda: tracker.close("FINISHED")


def hung(run: Path) -> tuple[Log, Callable[[], None]]:
    """The same with a server that never answers."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
    threading.Thread(target=lambda: [listening.accept() for _ in iter(int, 1)], daemon=True).start()
    return ours(run)


def library(run: Path, *, synchronous: bool) -> tuple[Log, Callable[[], None]]:
    """MLflow's fluent calls in the training process."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{run.parent / 'mlflow.db'}")
    mlflow.set_experiment("e")
    mlflow.start_run()
    return lambda step: mlflow.log_metrics(FIGURES, step=step, synchronous=synchronous), mlflow.end_run


CONTENDERS = {
    "nothing": nothing,
    "distunlearn, database": ours,
    "distunlearn, hung server": hung,
    "mlflow": lambda run: library(run, synchronous=True),
    "mlflow async": lambda run: library(run, synchronous=False),
}


def one(name: str) -> None:
    """Run one contender and print its CPU and wall seconds: start, loop, end."""
    import torch

    torch.set_num_threads(1)
    left = torch.randn(700, 700)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "runs" / "r"
        run.mkdir(parents=True)
        marks = [(time.process_time(), time.perf_counter())]
        log, end = CONTENDERS[name](run)
        marks.append((time.process_time(), time.perf_counter()))
        for step in range(STEPS):
            left = torch.tanh(left @ left)
            log(step)
        marks.append((time.process_time(), time.perf_counter()))
        end()
        marks.append((time.process_time(), time.perf_counter()))
        print(json.dumps([[after[k] - before[k] for k in (0, 1)] for before, after in pairwise(marks)]))
        sys.stdout.flush()
        os._exit(0)  # the library's threads are not waited for: their end is not what is measured


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one")
    given = parser.parse_args()
    if given.one:
        one(given.one)
    results: dict[str, list[list[list[float]]]] = {name: [] for name in CONTENDERS}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    for _ in range(given.rounds):
        for name in CONTENDERS:
            done = subprocess.run(
                [sys.executable, __file__, "--one", name], env=environment, capture_output=True, text=True, check=True
            )
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    base = median(loop[0] for _, loop, _ in results["nothing"])
    print("| logging | start, CPU s | loop, CPU s | to nothing | end, s |", "|---|--:|--:|--:|--:|", sep="\n")
    for name, rounds in results.items():
        start, loop = (median(parts[k][0] for parts in rounds) for k in (0, 1))
        print(
            f"| {name} | {start:.3f} | {loop:.2f} | {loop / base:.3f} | {median(parts[2][1] for parts in rounds):.1f} |"
        )


if __name__ == "__main__":
    main()
