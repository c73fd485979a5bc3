#!/bin/sh
# From nothing to a report on one machine: simulate three sites, shard, train on two processes, probe, predict, report.
# QUICK=1 is the short form: fewer scans and epochs, the same way.
set -eu
cd "$(dirname "$0")/.."

PATH="$(cd "${BIN:-.venv/bin}" && pwd):$PATH"
export PATH OMP_NUM_THREADS=1 MLFLOW_DISABLE_TELEMETRY=true

if [ -n "${QUICK:-}" ]; then
    out=demo-quick people="--biobank 150 --oasis 60 --whitehall 50 --travelling 12" first=3 second=3
else
    out=demo people="--scale 0.1 --travelling 60" first=10 second=6
fi

say() { printf '\n== %s\n' "$*"; }

train() { # name, preset, overrides …
    name=$1 preset=$2
    shift 2
    accelerate launch --config_file launch/accelerate/cpu.yaml --num_processes 2 \
        distunlearn train --preset "$preset" --shards "$out/shards" --out "$out/runs/$name" "$@"
}

say "1/6  Simulate a study of three sites, and people who travelled between them"
# shellcheck disable=SC2086 # several words are meant
distunlearn simulate "$out/study" $people

say "2/6  Shard it"
distunlearn shard "$out/study" "$out/shards" --size 32 40 32 --keep-every 2

say "3/6  Standard training, then the paper's unlearning, two processes"
train unlearning demo --set stages.0.epochs=$first --set stages.1.epochs=$second

say "4/6  Four features and alignment at a similar age, for as long, two processes"
train beyond beyond --set stages.0.epochs=$((first + second))

say "5/6  Predict the age of a scan; neither its site nor its age is given"
scan=$(find "$out/study/oasis" -name '*_T1w.nii.gz' | sort | tail -n 1)
distunlearn predict "$scan" --run "$out/runs/beyond"

say "6/6  Report both runs side by side"
distunlearn report "$out/runs/unlearning" "$out/runs/beyond" --out "$out/report.html"
