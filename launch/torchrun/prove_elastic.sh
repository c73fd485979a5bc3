#!/bin/bash
# Prove elastic.sh: a training whose rank is killed (torchrun starts it again by itself), and one that is told to stop and
# started again, must end with the weights of one that nothing disturbed, bit by bit.
#   launch/torchrun/prove_elastic.sh SHARDS [FOLDER] [KILLS]     SHARDS as written by `distunlearn shard`, 32x40x16 voxels
set -euo pipefail

shards=$(realpath "$1") folder=$(realpath -m "${2:-$(mktemp -d)}") kills=${3:-3}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
cd "$folder"
export GLOO_SOCKET_IFNAME=lo NPROC=2

train() { # name
    PORT=$((20000 + RANDOM % 10000)) "$here/elastic.sh" --preset demo --shards "$shards" --out "$1" --set data.batch=24 \
        --set engine.log_every=1 --set engine.checkpoint_minutes=0.05 --set tracking.enabled=false \
        --set stages.0.epochs=2 --set stages.1.epochs=2 >> "$1.log" 2>&1
}
until_step() { # name, step
    until [ -e "$1/metrics.jsonl" ] && [ "$(wc -l < "$1/metrics.jsonl")" -ge "$2" ]; do sleep 0.2; done
}
same() {
    for stage in standard unlearning; do cmp "quiet/$stage/model/model.safetensors" "$1/$stage/model/model.safetensors"; done
    echo "$1: the weights of both stages are those of the quiet training, bit by bit"
}

train quiet
for kill in $(seq "$kills"); do
    train "killed-$kill" &
    training=$!
    until_step "killed-$kill" $((3 + 3 * kill))
    mapfile -t ranks < <(pgrep --full -- "-m distunlearn train .*--out killed-$kill " | while read -r process; do
        grep --quiet --null-data '^RANK=' "/proc/$process/environ" && echo "$process"
    done)
    kill -KILL "${ranks[$((kill % 2))]}"
    wait "$training"
    grep "going on with stage" "killed-$kill.log"
    same "killed-$kill"
done

train told &
training=$!
until_step told 8
kill -TERM "$(pgrep --full --newest -- "torchrun .*--out told ")"
if wait "$training"; then exit 1; fi
grep --quiet '"state": "stopped"' told/STATUS.json
train told
same told
