#!/bin/bash
# Prove the image without Docker and without a registry: build it with buildah on a Debian made by debootstrap, then run
# `--help` and a tiny training of two processes in it, as the user of the image.
#   apt-get install buildah debootstrap        (Debian; as root)
#   docker/prove_image.sh [FOLDER]
# What this machine needs to reach its package index can be given in MOUNTS, further options of `buildah build`.
set -euo pipefail

folder=$(realpath -m "${1:-$(mktemp -d)}") root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$folder"
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
store=(--root "$folder/store" --runroot "$folder/runroot")
read -r -a mounts <<< "${MOUNTS:-}"

say() { printf '== %s\n' "$*"; }

say "a base image of Debian bookworm"
if ! buildah "${store[@]}" inspect --type image localhost/base > /dev/null 2>&1; then
    [ -d "$folder/rootfs/usr" ] || debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/rootfs" > debootstrap.log
    base=$(buildah "${store[@]}" from scratch)
    buildah "${store[@]}" add --quiet "$base" "$folder/rootfs" /
    buildah "${store[@]}" commit --quiet "$base" localhost/base
    buildah "${store[@]}" rm "$base" > /dev/null
fi

say "docker/Dockerfile, for a CPU"
buildah "${store[@]}" build --quiet --network host "${mounts[@]}" --file "$root/docker/Dockerfile" --tag distunlearn:cpu \
    --build-arg BASE_IMAGE=localhost/base --build-arg "TORCH_INDEX=${TORCH_INDEX:-}" "$root"
buildah "${store[@]}" images

say "run it"
box=$(buildah "${store[@]}" from --pull-never distunlearn:cpu)
trap 'buildah "${store[@]}" rm "$box" > /dev/null' EXIT
mkdir -p "$folder/data"
chmod 777 "$folder/data"
# Docker makes tini the first process and the container's name known; this isolation does neither.
inside() {
    buildah "${store[@]}" run --user 10001 --hostname localhost --env TINI_SUBREAPER=1 --volume "$folder/data:/data" "$box" -- \
        /usr/bin/tini -- "$@"
}
inside distunlearn --help
inside sh -c 'id --user; cd /data
    distunlearn simulate study --biobank 60 --oasis 24 --whitehall 20 --travelling 4 --workers 2
    distunlearn shard study shards --size 32 40 32 --keep-every 2
    distunlearn launch --nproc 2 train --preset demo --shards shards --out runs/first \
        --set data.batch=24 --set stages.0.epochs=1 --set stages.1.epochs=1'
cat "$folder/data/runs/first/STATUS.json"

say "no secret and no cache is left in the image"
layers=$(buildah "${store[@]}" mount "$box")
du --summarize --human-readable "$layers" "$layers/opt/venv"
[ -z "$(find "$layers/root" "$layers/home" -name '*.conf' -o -name .netrc -o -name '.cache' | head -n 1)" ]
