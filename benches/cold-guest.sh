#!/usr/bin/env bash
# Reads of a guest with cold caches, from our image and from one of mke2fs with the same tree.
#
#   cold-guest.sh LAYOUT...      OCI layouts with the tag "latest"; needs Linux, and root to mount
#
# The table shows the requests to the disk and the MiB read, up to and including each step: the
# mount, `find` over all names and inodes, and the content of every file in the order of
# directories.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }
cargo build --release --quiet --manifest-path "$here/../Cargo.toml"
target=${CARGO_TARGET_DIR:-$here/../target}
work=$(mktemp -d "${TMPDIR:-/tmp}/cold-guest.XXXXXX")
device=
finish() {
  ! mountpoint -q "$work/mnt" || umount "$work/mnt"
  [ -z "$device" ] || losetup -d "$device"
  rm -rf "$work"
}
trap finish EXIT
mkdir "$work/mnt"

counted() { awk '{ print $1, $3 }' "/sys/block/${device#/dev/}/stat"; }
reads() { # prints the requests, and the MiB read, since `before`
  echo "$before $(counted)" | awk '{ printf " %d | %.1f |", $3 - $1, ($4 - $2) / 2048 }'
}

printf '| image | by | mount: requests | MiB | find: requests | MiB | all: requests | MiB |\n|---|---|---|---|---|---|---|---|\n'
for layout; do
  for by in microagent mke2fs; do
    arguments=(--image "oci:$layout:latest" --allow-mutable --arch amd64 --init none --out "$work/$by.ext4")
    [ "$by" = microagent ] || arguments+=(--mke2fs "$(command -v mke2fs)")
    "$target/release/microagent" rootfs build "${arguments[@]}" >/dev/null
    sync
    device=$(losetup --find --show --direct-io=on "$work/$by.ext4")
    echo 3 >/proc/sys/vm/drop_caches
    before=$(counted)
    row="| $(basename "$layout") | $by |"
    mount -o ro,noatime "$device" "$work/mnt"
    row+=$(reads)
    find "$work/mnt" -printf '%s' >/dev/null
    row+=$(reads)
    find "$work/mnt" -type f -exec cat {} + >/dev/null
    row+=$(reads)
    echo "$row"
    umount "$work/mnt"
    losetup -d "$device"
    device=
    rm "$work/$by.ext4"
  done
done
