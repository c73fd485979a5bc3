"""Compare runs with their mirrors: every figure of metrics.jsonl must be in MLflow once, and nothing else."""

import json
import sys
from pathlib import Path

from mlflow import MlflowClient

client = MlflowClient(sys.argv[1])
for run in map(Path, sys.argv[2:]):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    written = sorted((key, line["step"], value) for line in lines for key, value in line.items() if "/" in key)
    mirrored = client.get_run(json.loads((run / "mlflow.json").read_text())["run_id"])
    keys = mirrored.data.metrics
    told = sorted((key, m.step, m.value) for key in keys for m in client.get_metric_history(mirrored.info.run_id, key))
    if told != written:
        sys.exit(f"{run}: {len(written)} figures written, {len(told)} in MLflow")
    files = [file.path for file in client.list_artifacts(mirrored.info.run_id)]
    print(  # noqa: T201
        f"{run}: {mirrored.info.status}, all {len(told)} figures of {len(keys)} metrics in MLflow once; files: {', '.join(files)}"
    )
