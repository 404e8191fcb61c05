#!/usr/bin/env bash
# Compares whole builds of this project with umoci and mke2fs, and with a lower bound.
#
#   compare.sh [-n RUNS] LAYOUT...      OCI layouts with the tag "latest"; needs root, for umoci
#
# The commands of a row run in turn, RUNS times (default 3). The table shows medians. Umoci needs
# root to keep owners.
#   F           lower bound in seconds: the fastest tools for the necessary steps, on two cores.
#               Half of the sum of decompressing all layers (igzip, zstd), SHA-256 of blobs and tars
#               (openssl), and one copy of the tars into a file (cat)
#   build       seconds of a build from the layout, without fsync
#   umoci …     seconds of umoci raw unpack and mke2fs -d, which syncs
#   registry    ratio to build: a build from docker-registry on loopback with an empty store
#   curl        ratio to build: build plus a download of the blobs into files by curl. The download
#               counts half of the processor time of curl and of the registry
#   kept        ratio of two builds: one with another label, from the tars that --keep-unpacked
#               cached, to the one that cached them
#   sync        ratio of two fsyncs: at the end of a build, to that of a copy by cp --sparse=always
#   peak        MiB of memory of the build
#   written     bytes that the build writes to its output, per byte allocated in it
# Caches are warm, and outputs are new files, since replacing a file includes the time to remove the
# old one. A missing tool is listed, and its column is empty.
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

# Prints the seconds that a command takes, to three digits.
seconds() {
  local start end
  start=$(date +%s%N)
  "$@" >/dev/null || return
  end=$(date +%s%N)
  printf '%d.%03d\n' $(((end - start) / 1000000000)) $(((end - start) / 1000000 % 1000))
}
# Prints the processor time of a process, in seconds.
processor_time() { awk -v ticks="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / ticks }' "/proc/$1/stat"; }
median() { sort -n | awk '{ line[NR] = $1 } END { if (NR) print line[int((NR + 1) / 2)] }'; }

decompress() { # BLOB: prints the tar in it
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
fresh() { # removes outputs, and waits for the disk
  rm -rf "$work"/*.ext4 "$work/tree" "$work/copy" "$work/blobs"
  sync
}
unpack_and_mke2fs() {
  umoci raw unpack --image "$layout:latest" "$work/tree" &&
    mke2fs -q -t ext4 -d "$work/tree" "$work/mke2fs.ext4" "${size}M"
}
serve() { # starts a registry with the image; fails if tools are missing
  have docker-registry && have skopeo || return 1
  if [ -z "$registry" ]; then
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    RIG=$work "$here/../tests/rig/start-registry.sh" start "$port" >/dev/null
    registry=127.0.0.1:$port
  fi
  skopeo copy -q --dest-tls-verify=false "oci:$layout:latest" "docker://$registry/compare:latest"
}
download() { # prints half of the processor time that it takes, in seconds
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
# curl --parallel always prints its progress.
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
      # Reads the registry's data into the page cache again.
      find "$work/registry/data" -type f -exec cat {} + >/dev/null
      seconds build "$work/native.ext4" "$registry/compare:latest" --no-sync | note registry
      fresh
      if have curl; then download | note curl; fi
    fi
    rm -rf "$work/state"
    fresh
    # Some versions of umoci do not support zstd.
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
