#!/bin/sh
# One site's part of a training in which no scan leaves its site. Start it at every site, each with its own number:
#   NUMBER=0 SITES=3 HEAD=10.8.0.1 launch/federated/site.sh --config CONFIG.yaml --shards SHARDS --out RUN
# SHARDS holds the folder of this site and no other. CONFIG.yaml is the same everywhere: it names `sites`, in one order,
# and says that placement is federated. Number 0 writes the run folder; its machine is HEAD.
# What crosses between sites: gradients, and sums and counts a site. The processes speak without encryption and without
# passwords, so HEAD must be an address inside a tunnel (WireGuard, IPsec) that only the sites are in.
set -eu

: "${NUMBER:?which site this is: 0, 1, …}"
: "${SITES:?how many sites take part}"
: "${HEAD:?address of site 0 inside the tunnel}"
: "${PORT:=29500}"           # open on HEAD; gloo and NCCL open further ports between all sites
: "${INTERFACE:=}"           # change me: the tunnel's network interface, such as wg0

if [ -n "$INTERFACE" ]; then
    export GLOO_SOCKET_IFNAME="$INTERFACE" NCCL_SOCKET_IFNAME="$INTERFACE"
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export RANK="$NUMBER" LOCAL_RANK=0 WORLD_SIZE="$SITES" MASTER_ADDR="$HEAD" MASTER_PORT="$PORT"
exec distunlearn train "$@"
