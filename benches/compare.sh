#!/usr/bin/env bash
# Whole builds side by side, in one run: this project, umoci and mke2fs, and the floor that no tool gets under.
#
#   compare.sh [-n RUNS] LAYOUT...      OCI layouts with the tag "latest"; as root, for umoci to keep owners
#
# The commands of a row run in turn, RUNS times (default 3); the table shows medians.
#   F           seconds of the fastest tools for what nobody can leave out, on two cores: decompressing all layers (igzip, zstd),
#               SHA-256 of the blobs and of the tars (openssl), and one copy of the tars into a file (cat), added up and halved
#   build       a build from the layout, without the sync
#   umoci …     umoci raw unpack and mke2fs -d, which syncs
#   registry    a build from docker-registry on loopback with an empty store, to build
#   curl        what a download of the blobs into files takes by itself on the same two cores, added to build, to build: processor time of
#               curl and of the registry, halved
#   kept        a build with another label of layers that --keep-unpacked kept, to the build that kept them
#   sync        the fsync at the end of a build with it, to that of a copy of the image by cp --sparse=always
#   peak        MiB of memory of the build
#   written     bytes that the build writes to its output, per byte that is allocated in it
# The caches are warm, and outputs are new files: to replace one costs what the old one takes to remove. A tool that is missing is
# named, and its column is empty.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
runs=3
if [ "${1:-}" = -n ]; then
  runs=$2
  shift 2
fi
[ $# -gt 0 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }

cargo build --release --quiet --manifest-path "$here/../Cargo.toml"
target=${CARGO_TARGET_DIR:-$here/../target}
microagent=$target/release/microagent
work=$(mktemp -d "${TMPDIR:-/tmp}/compare.XXXXXX")

have() { command -v "$1" >/dev/null || { missing[$1]=1; return 1; }; }
declare -A missing=()

# Seconds that a command takes, to three digits.
seconds() {
  local start end
  start=$(date +%s%N)
  "$@" >/dev/null || return
  end=$(date +%s%N)
  printf '%d.%03d\n' $(((end - start) / 1000000000)) $(((end - start) / 1000000 % 1000))
}
# Seconds of processor time that a process took so far.
processor_time() { awk -v ticks="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / ticks }' "/proc/$1/stat"; }
median() { sort -n | awk '{ line[NR] = $1 } END { if (NR) print line[int((NR + 1) / 2)] }'; }

decompress() { # BLOB: the tar in it
  case $(head -c 4 "$1" | od -An -tx1 | tr -d ' \n') in
    1f8b*) if have igzip; then igzip -dc "$1"; else gzip -dc "$1"; fi ;;
    28b52ffd) zstd -dcq "$1" ;;
    *) cat "$1" ;;
  esac
}
decompress_all() { for blob in "${blobs[@]}"; do decompress "$blob"; done; }
hash_all() { for file in "$@"; do openssl dgst -sha256 "$file"; done; }
copy_all() { cat "${tars[@]}" >"$work/copy"; }
build() { # OUTPUT IMAGE ARGUMENT...
  local output=$1 image=$2
  shift 2
  "$microagent" rootfs build --image "$image" --allow-mutable --arch amd64 --init none --state-dir "$work/state" \
    --out "$output" --json "$@"
}
fresh() { # removes outputs, and has the disk at rest
  rm -rf "$work"/*.ext4 "$work/tree" "$work/copy" "$work/blobs"
  sync
}
unpack_and_mke2fs() {
  umoci raw unpack --image "$layout:latest" "$work/tree" &&
    mke2fs -q -t ext4 -d "$work/tree" "$work/mke2fs.ext4" "${size}M"
}
serve() { # starts a registry with the image, in which case it succeeds
  have docker-registry && have skopeo || return 1
  if [ -z "$registry" ]; then
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    RIG=$work "$here/../tests/rig/start-registry.sh" start "$port" >/dev/null
    registry=127.0.0.1:$port
  fi
  skopeo copy -q --dest-tls-verify=false "oci:$layout:latest" "docker://$registry/compare:latest"
}
download() { # prints the seconds that it takes of two cores
  local server before blob arguments=()
  server=$(cat "$work/registry/pid")
  mkdir -p "$work/blobs"
  for blob in "${blobs[@]}"; do
    arguments+=(-o "$work/blobs/${blob##*/}" "http://$registry/v2/compare/blobs/sha256:${blob##*/}")
  done
  before=$(processor_time "$server")
  {
    python3 - "${arguments[@]}" <<'PYTHON'
import resource, subprocess, sys
# It says how far it is, whatever it is told.
curl = subprocess.run(["curl", "--fail", "--parallel", *sys.argv[1:]], stderr=subprocess.PIPE)
if curl.returncode:
    sys.exit(curl.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
PYTHON
    processor_time "$server"
  } | awk -v before="$before" '{ sum += $1 } END { printf "%.3f\n", (sum - before) / 2 }'
}
registry=
trap '[ -z "$registry" ] || RIG=$work "$here/../tests/rig/start-registry.sh" stop >/dev/null; rm -rf "$work"' EXIT

in_floors() { if [ -n "$1" ]; then awk -v a="$1" -v b="$floor" 'BEGIN { printf "%.2f (%.2f F)", a, a / b }'; fi; }
plus() { if [ -n "$2" ]; then awk -v a="$1" -v b="$2" 'BEGIN { print a + b }'; fi; }
to() { if [ -n "$1" ]; then awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; fi; }

printf '| image | F | build | umoci and mke2fs -d | registry | curl | kept | sync | peak | written |\n|---|---|---|---|---|---|---|---|---|---|\n'
for layout; do
  layout=${layout%/}
  mapfile -t blobs < <(python3 - "$layout" <<'PYTHON'
import json, sys
layout = sys.argv[1]
blob = lambda digest: layout + "/blobs/" + digest.replace(":", "/")
index = json.load(open(layout + "/index.json"))
for layer in json.load(open(blob(index["manifests"][0]["digest"])))["layers"]:
    print(blob(layer["digest"]))
PYTHON
  )
  tars=()
  for blob in "${blobs[@]}"; do
    tars+=("$work/${#tars[@]}.tar")
    decompress "$blob" >"${tars[-1]}"
  done
  local_image=oci:$layout:latest
  size=$(($(build "$work/native.ext4" "$local_image" | python3 -c 'import json, sys; print(json.load(sys.stdin)["size_bytes"])') >> 20))
  for series in floor build umoci registry curl keeping kept sync copied peak written; do : >"$work/$series.series"; done
  note() { cat >>"$work/$1.series"; }
  of() { median <"$work/$1.series"; }
  fails=
  serve && serves=1 || serves=
  for _ in $(seq "$runs"); do
    fresh
    {
      seconds decompress_all
      seconds hash_all "${blobs[@]}"
      seconds hash_all "${tars[@]}"
      seconds copy_all
    } | awk '{ sum += $1 } END { printf "%.3f\n", sum / 2 }' | note floor
    fresh
    seconds build "$work/native.ext4" "$local_image" --no-sync | note build
    cp --sparse=always "$work/native.ext4" "$work/copy"
    seconds sync "$work/copy" | note copied
    fresh
    if have strace; then
      strace -f --seccomp-bpf -qq -T -e trace=fsync -o "$work/trace" "$microagent" rootfs build --image "$local_image" --allow-mutable \
        --arch amd64 --init none --out "$work/native.ext4" --json >/dev/null
      sed -n 's/.*<\([0-9.]*\)>$/\1/p' "$work/trace" | note sync
    fi
    fresh
    rm -rf "$work/state"
    seconds build "$work/native.ext4" "$local_image" --no-sync --keep-unpacked | note keeping
    fresh
    seconds build "$work/native.ext4" "$local_image" --no-sync --keep-unpacked --label other | note kept
    rm -rf "$work/state"
    fresh
    if [ -n "$serves" ]; then
      # Much was read and written since it was there.
      find "$work/registry/data" -type f -exec cat {} + >/dev/null
      seconds build "$work/native.ext4" "$registry/compare:latest" --no-sync | note registry
      fresh
      if have curl; then download | note curl; fi
    fi
    rm -rf "$work/state"
    fresh
    # Some versions of umoci know no zstd.
    if have umoci && have mke2fs && [ -z "$fails" ]; then
      if took=$(seconds unpack_and_mke2fs); then echo "$took" | note umoci; else fails=1; fi
    fi
  done
  fresh
  python3 - "$microagent" rootfs build --image "$local_image" --allow-mutable --arch amd64 --init none --no-sync \
    --out "$work/native.ext4" <<'PYTHON' | note peak
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
PYTHON
  if have strace; then
    rm "$work/native.ext4"
    strace -f -qq -e trace=pwrite64 -o "$work/trace" "$microagent" rootfs build --image "$local_image" --allow-mutable --arch amd64 \
      --init none --out "$work/native.ext4" --json >/dev/null
    allocated=$(($(stat -c '%b * %B' "$work/native.ext4")))
    awk -v allocated="$allocated" '/ = [0-9]+$/ { sum += $NF } END { printf "%.2f\n", sum / allocated }' "$work/trace" | note written
  fi
  floor=$(of floor)
  printf '| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n' "$(basename "$layout")" "$floor" "$(in_floors "$(of build)")" \
    "$(in_floors "$(of umoci)")" "$(to "$(of registry)" "$(of build)")" "$(to "$(plus "$(of build)" "$(of curl)")" "$(of build)")" \
    "$(to "$(of kept)" "$(of keeping)")" "$(to "$(of sync)" "$(of copied)")" "$(of peak)" "$(of written)"
  fresh
  rm -f "$work"/*.tar "$work"/*.series "$work/trace"
done
for tool in "${!missing[@]}"; do echo "missing: $tool"; done
