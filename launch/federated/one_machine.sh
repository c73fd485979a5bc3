#!/bin/bash
# Play all sites of a federated training on one machine: one process a site, which sees the folder of its site in SHARDS
# and no other, because the operating system hides them (mount namespaces; no root needed where users may make them).
#   launch/federated/one_machine.sh SHARDS --config CONFIG.yaml --shards SHARDS --out RUN
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
shards=$(realpath "$1")
shift
sites=("$shards"/*/)
export SITES=${#sites[@]} HEAD=127.0.0.1 INTERFACE=lo PORT=${PORT:-$((20000 + RANDOM % 10000))}
COMMAND=${COMMAND:-$here/site.sh}

processes=()
for number in "${!sites[@]}"; do
    site=$(basename "${sites[$number]}")
    # shellcheck disable=SC2016 # expanded inside the namespace
    NUMBER=$number unshare --map-root-user --mount --kill-child bash -c '
        set -eu
        shards=$1 site=$2 command=$3
        shift 3
        kept=$(mktemp -d)
        mount --bind "$shards/$site" "$kept"
        mount -t tmpfs none "$shards"
        mkdir "$shards/$site"
        mount --bind "$kept" "$shards/$site"
        mount -o remount,ro,bind "$shards/$site" "$shards/$site"
        exec "$command" "$@"
    ' site "$shards" "$site" "$COMMAND" "$@" &
    processes+=("$!")
done
status=0
for process in "${processes[@]}"; do
    wait "$process" || status=$?
done
exit "$status"
