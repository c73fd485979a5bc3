#!/bin/sh
# Train with torchrun, which starts everything again when a process dies; the run then goes on from its checkpoint.
# On one machine:            NPROC=2 launch/torchrun/elastic.sh --config CONFIG.yaml --shards SHARDS --out RUN
# On two, on each of them:   NNODES=2 HEAD=first-machine NPROC=8 launch/torchrun/elastic.sh …
set -eu

: "${NPROC:=2}"              # processes on this machine: one a GPU
: "${NNODES:=1}"             # machines; 1:2 goes on with one when the other is lost
: "${HEAD:=localhost}"       # the first machine, by a name that all know
: "${PORT:=29400}"
: "${JOB:=distunlearn}"      # the same on all machines, another for every job
: "${MAX_RESTARTS:=3}"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# With the store that torchrun keeps over a restart, gloo meets addresses of dead processes (pytorch #135712).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

exec torchrun \
    --nnodes "$NNODES" --nproc-per-node "$NPROC" --max-restarts "$MAX_RESTARTS" --monitor-interval 1 \
    --rdzv-backend c10d --rdzv-endpoint "$HEAD:$PORT" --rdzv-id "$JOB" \
    -m distunlearn train "$@"
