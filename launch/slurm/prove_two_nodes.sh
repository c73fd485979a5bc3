#!/bin/bash
# Prove the Slurm files on one machine: a real Slurm that plays two nodes shards a study, trains on both nodes, preempts
# the training and requeues it; its weights must equal those of a training that nothing disturbed, bit by bit.
#   apt-get install slurm-wlm munge        (Debian; as root)
#   launch/slurm/prove_two_nodes.sh [FOLDER]
# Takes about ten minutes on two cores, four of which Slurm waits before it starts a requeued job again. Nothing outside
# FOLDER is changed: the names of the nodes are known only inside.
set -euo pipefail

if [ -z "${INSIDE:-}" ]; then
    folder=$(realpath -m "${1:-$(mktemp -d)}")
    mkdir -p "$folder"
    # A mount namespace of our own, for an /etc/hosts that knows n1 and n2; everything in it dies with this script.
    INSIDE=1 exec unshare --mount --pid --fork --mount-proc --kill-child "$0" "$folder"
fi
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
cd "$folder"
{ cat /etc/hosts; echo "127.0.0.1 n1 n2"; } > hosts
mount --bind hosts /etc/hosts
export SLURM_CONF=$folder/slurm.conf OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=lo MLFLOW_DISABLE_TELEMETRY=true

say() { printf '== %s\n' "$*"; }

start_slurm() {
    mkdir -p state spool.n1 spool.n2 log
    dd if=/dev/urandom of=munge.key bs=1024 count=1 status=none
    chmod 600 munge.key
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/log/munged" --seed-file="$folder/munge.seed"
    cat > slurm.conf << CONF
ClusterName=two
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmctldPort=17000
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmdSpoolDir=$folder/spool.%n
StateSaveLocation=$folder/state
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=5
MinJobAge=3600
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=17001 CPUs=1 RealMemory=2000 Gres=gpu:1
NodeName=n2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=17002 CPUs=1 RealMemory=2000 Gres=gpu:1
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF
CONF
    echo "CgroupPlugin=cgroup/v1" > cgroup.conf
    # No GPU is needed: two devices that every machine has let --gpus-per-node=1 be granted.
    printf 'NodeName=n1 Name=gpu File=/dev/null\nNodeName=n2 Name=gpu File=/dev/zero\n' > gres.conf
    slurmctld
    slurmd -N n1
    slurmd -N n2
    for _ in $(seq 60); do
        [ "$(sinfo --noheader --states=idle --format=%D)" = 2 ] && return
        sleep 1
    done
    sinfo
    exit 1
}

job() { scontrol --oneliner show job "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"; }

wait_for() { # job
    for _ in $(seq 600); do
        case $(job "$1" JobState) in
            COMPLETED) return ;;
            FAILED | TIMEOUT | NODE_FAIL | CANCELLED | OUT_OF_MEMORY) break ;;
        esac
        sleep 1
    done
    scontrol show job "$1"
    tail -n 30 ./*-"$1".out
    exit 1
}

wait_for_steps() { # run, how many lines of metrics
    for _ in $(seq 600); do
        [ "$(cat "$1/metrics.jsonl" 2> /dev/null | wc -l)" -ge "$2" ] && return
        sleep 0.2
    done
    echo "$1 does not start" >&2
    exit 1
}

options=(--preset demo --shards shards --set data.batch=24 --set engine.log_every=1 --set tracking.run_name=slurm
    --set stages.0.epochs=4 --set stages.1.epochs=4)
submit() { sbatch --parsable --partition=low "$@"; }

say "Slurm of two nodes"
start_slurm
sinfo

say "simulate a study, shard its three sites in a job array"
distunlearn simulate study --biobank 120 --oasis 40 --whitehall 30 --travelling 4 --workers 2
submit --wait "$here/shard_array.sbatch" study shards --size 32 40 32 --keep-every 2 > /dev/null

say "a training that nothing disturbs"
quiet=$(submit "$here/train.sbatch" "${options[@]}" --out runs/quiet)
wait_for "$quiet"
echo "job $quiet ran on $(job "$quiet" NodeList), world size $(sed -n 's/.*"world_size": //p' runs/quiet/environment.json)"

say "a training that a more important job preempts"
preempted=$(submit "$here/train.sbatch" "${options[@]}" --out runs/preempted)
wait_for_steps runs/preempted 12
sbatch --parsable --partition=high --nodes=2 --output=high.out --wrap "srun hostname; sleep 3" > /dev/null
wait_for "$preempted"
echo "job $preempted was requeued $(job "$preempted" Restarts) time(s)"

say "a training that gets the signal of the time limit"
told=$(submit "$here/train.sbatch" "${options[@]}" --out runs/told)
wait_for_steps runs/told 20
scancel --signal=TERM "$told"
wait_for "$told"
echo "job $told was requeued $(job "$told" Restarts) time(s)"

say "two variants in a sweep"
printf 'seed-1 --set seed=1\nseed-2 --set seed=2\n' > variants.txt
submit --wait --array=1-2 "$here/sweep.sbatch" variants.txt runs "${options[@]}" --set stages.0.epochs=1 --set stages.1.epochs=1 > /dev/null

say "what came out"
for run in preempted told; do
    [ "$(job "${!run}" Restarts)" -ge 1 ]
    grep -h "going on with stage" ./*-"${!run}".out
    for stage in standard unlearning; do
        cmp "runs/quiet/$stage/model/model.safetensors" "runs/$run/$stage/model/model.safetensors"
    done
    echo "runs/$run: the weights of both stages are those of runs/quiet, bit by bit"
done
for run in seed-1 seed-2; do
    grep -q '"state": "finished"' "runs/$run/STATUS.json"
done
echo "both variants finished"
sha256sum runs/{quiet,preempted,told}/unlearning/model/model.safetensors
