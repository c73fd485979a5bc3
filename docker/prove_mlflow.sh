#!/bin/bash
# Prove the MLflow stack of compose.yaml without containers: Postgres, an S3 store and `mlflow server`, started with the
# settings of compose.yaml; two trainings against it, during one of which the server hangs; every figure compared with
# the run folder, and a picture of the comparison chart.
#   apt-get install postgresql chromium        (Debian)
#   docker/prove_mlflow.sh SHARDS [FOLDER]     SHARDS as written by `distunlearn shard`
# The store here is moto's, which speaks S3; compose.yaml has RustFS. Everything is written into FOLDER and stopped in the end.
set -euo pipefail

shards=$(realpath "$1") folder=$(realpath -m "${2:-$(mktemp -d)}") here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
cd "$folder"
postgres=$(dirname "$(readlink -f /usr/lib/postgresql/*/bin/initdb | tail -n 1)")
export OMP_NUM_THREADS=1 AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret AWS_DEFAULT_REGION=us-east-1
export AWS_ENDPOINT_URL_S3=http://127.0.0.1:9500 MLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:9500
export MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://mlflow@127.0.0.1:5500/mlflow MLFLOW_ARTIFACTS_DESTINATION=s3://mlflow
export MLFLOW_DISABLE_TELEMETRY=true
server=http://127.0.0.1:5600 started=()

say() { printf '== %s\n' "$*"; }
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
stop_all() {
    for process in "${started[@]}"; do
        kill -CONT -- "-$process" 2> /dev/null && kill -KILL -- "-$process" 2> /dev/null
    done
    as_postgres "$postgres/pg_ctl" --pgdata "$folder/postgres" --mode immediate stop > /dev/null 2>&1
}
trap stop_all EXIT
start() { # in a group of its own, so that its workers can be stopped with it
    set -m
    "$@" > "$1.log" 2>&1 &
    set +m
    started+=("$!")
}
answers() { for _ in $(seq 180); do curl --silent --fail --output /dev/null "$1" && return; sleep 1; done; echo "$1 does not answer" >&2; exit 1; }

say "the versions of Dockerfile.mlflow"
if [ ! -x venv/bin/mlflow ]; then
    python3 -m venv venv
    version=$(sed -n 's/^ARG MLFLOW_VERSION=//p' "$here/Dockerfile.mlflow")
    venv/bin/pip install --quiet "mlflow==$version" 'psycopg2-binary==2.9.*' 'boto3==1.44.*' 'moto[server]==5.*'
fi
training=$PATH PATH=$folder/venv/bin:$PATH
mlflow --version

say "Postgres, an S3 store, the server"
mkdir -p postgres && rm -rf postgres/*
if [ "$(id -u)" = 0 ]; then chown postgres postgres && chmod o+x "$folder"; fi
as_postgres "$postgres/initdb" --pgdata "$folder/postgres" --username mlflow --auth trust > initdb.log
as_postgres "$postgres/pg_ctl" --pgdata "$folder/postgres" --wait --log "$folder/postgres/log" \
    --options "-p 5500 -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder/postgres" start > /dev/null
as_postgres "$postgres/createdb" --host 127.0.0.1 --port 5500 --username mlflow mlflow
start moto_server --host 127.0.0.1 --port 9500
answers http://127.0.0.1:9500/moto-api/
python "$here/make_bucket.py" mlflow
start mlflow server --host 127.0.0.1 --port 5600 --serve-artifacts --workers 2
answers "$server/health"

train() { # name, further options
    name=$1
    shift
    PATH=$training MLFLOW_TRACKING_URI=$server MLFLOW_EXPERIMENT_NAME=proof \
        env --unset=AWS_ACCESS_KEY_ID --unset=AWS_SECRET_ACCESS_KEY --unset=MLFLOW_S3_ENDPOINT_URL --unset=AWS_ENDPOINT_URL_S3 \
        distunlearn launch --nproc 2 train --preset demo --shards "$shards" --out "runs/$name" \
        --set stages.0.epochs=3 --set stages.1.epochs=3 --set data.batch=24 --set engine.log_every=1 "$@"
}

rm -rf runs
say "train, two processes, no key of the store in the environment"
train first --set seed=1

say "train while the server hangs"
hang() {
    until [ -s runs/second/metrics.jsonl ]; do sleep 0.5; done
    kill -STOP -- "-${started[1]}"
    echo "the server is stopped" >&2
}
hang &
train second --set seed=2
wait $!
kill -CONT -- "-${started[1]}"
answers "$server/health"
PATH=$training MLFLOW_TRACKING_URI=$server distunlearn sync runs/first runs/second

say "compare"
python "$here/compare_with_mlflow.py" "$server" runs/first runs/second
echo "objects in the bucket: $(python -c 'import boto3; print(boto3.client("s3").list_objects_v2(Bucket="mlflow")["KeyCount"])')"

say "look"
experiment=$(sed -n 's/.*"experiment_id": "\(.*\)".*/\1/p' runs/first/mlflow.json)
chromium --headless --no-sandbox --disable-gpu --window-size=1600,1100 --virtual-time-budget=60000 \
    --screenshot="$folder/chart.png" "$server/#/experiments/$experiment/runs?compareRunsMode=CHART" 2> chromium.log
ls -l "$folder/chart.png"
