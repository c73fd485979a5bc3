#!/usr/bin/env bash
# Everything that needs a CUDA device, in about three minutes: tests, the time of a step, a training fed from shards.
#   benchmarks/gpu.sh [FOLDER FOR ITS FILES]
# PYTHON names an interpreter that has the project's dependencies; MLflow is not needed.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-$(mktemp -d)} python=${PYTHON:-python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1 MLFLOW_DISABLE_TELEMETRY=true
failed=0

say() { printf '\n== %s\n' "$*"; }

say "Device"
"$python" - <<'PYTHON' || exit 1
import platform, torch
assert torch.cuda.is_available(), "no CUDA device"
print(torch.cuda.get_device_name(), "torch", torch.__version__, "CUDA", torch.version.cuda, "Python", platform.python_version())
PYTHON

say "Tests"
"$python" -m pytest -q -m gpu tests/engine tests/streaming -W default -p no:cacheprovider || failed=1

say "Step"
"$python" benchmarks/step_gpu.py || failed=1

say "A training of the authors' network at 1x128x128x32, fed from shards"
"$python" -m distunlearn simulate "$out/study" --biobank 120 --oasis 60 --whitehall 60 --travelling 0 || failed=1
"$python" -m distunlearn shard "$out/study" "$out/shards" || failed=1
for name in float32 bf16; do
    settings=(--set tracking.enabled=false --set encoder.norm=sync --set stages.0.epochs=4 --set stages.1.epochs=8)
    [ $name = bf16 ] && settings+=(--set engine.precision=bf16 --set engine.compile=true)
    run=$out/run-$name
    "$python" -m distunlearn train --preset authors --shards "$out/shards" --out "$run" "${settings[@]}" >"$run.log" 2>&1 \
        || { failed=1; tail -n 20 "$run.log"; }
    "$python" - "$run" $name <<'PYTHON' || failed=1
import json, statistics, sys
lines = [json.loads(line) for line in open(f"{sys.argv[1]}/metrics.jsonl")]
for stage in ("standard", "unlearning"):
    own = [line for line in lines if line["stage"] == stage][2:]  # the first lines hold the choice of kernels
    middle = {name: statistics.median(line[name] for line in own) for name in own[0] if name.startswith("time/")}
    step = middle["time/seconds_per_step"]
    print(f"{sys.argv[2]}: {stage}: {1e3 * step:.1f} ms a step, {middle['time/scans_per_second']:.0f} scans/s, waiting for data "
          f"{100 * middle['time/waiting_for_data'] / step:.1f} %,", {name[5:]: round(1e3 * value, 1) for name, value in middle.items()})
PYTHON
done
exit $failed
