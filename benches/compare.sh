#!/usr/bin/env bash
# Whole builds side by side, in one run: this project, umoci and mke2fs, and the floor that no tool gets under.
#
#   compare.sh [-n RUNS] LAYOUT...      OCI layouts with the tag "latest"; as root, for umoci to keep owners
#
# The commands of a row run in turn, RUNS times (default 3); the table shows medians in seconds, and ratios to the floor
# F: the time of the fastest tools for what nobody can leave out, on two cores: decompressing all layers (igzip, zstd),
# SHA-256 of the blobs and of the tars (openssl), and one copy of the tars into a file (cat), added up and halved.
# The caches are warm, and nothing waits for the disk. A tool that is missing is named, and its column is empty.
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
trap 'rm -rf "$work"' EXIT

have() { command -v "$1" >/dev/null || { missing[$1]=1; return 1; }; }
declare -A missing=()

# Seconds that a command takes, to three digits.
seconds() {
  local start end
  start=$(date +%s%N)
  "$@" >/dev/null
  end=$(date +%s%N)
  printf '%d.%03d\n' $(((end - start) / 1000000000)) $(((end - start) / 1000000 % 1000))
}
median() { sort -n | awk '{ line[NR] = $1 } END { if (NR) print line[int((NR + 1) / 2)] }'; }
ratio() { if [ -n "$1" ]; then awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f (%.1f F)", a, a / b }'; fi; }

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
native() {
  "$microagent" rootfs build --image "oci:$layout:latest" --allow-mutable --arch amd64 --init none \
    --out "$work/native.ext4" --json
}
unpack_and_mke2fs() {
  rm -rf "$work/tree" "$work/mke2fs.ext4"
  umoci raw unpack --image "$layout:latest" "$work/tree"
  mke2fs -q -t ext4 -d "$work/tree" "$work/mke2fs.ext4" "${size}M"
}

printf '| image | F | microagent | umoci and mke2fs -d |\n|---|---|---|---|\n'
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
  size=$(($(native | python3 -c 'import json, sys; print(json.load(sys.stdin)["size_bytes"])') >> 20))
  : >"$work/floor"; : >"$work/native"; : >"$work/umoci"
  for _ in $(seq "$runs"); do
    {
      seconds decompress_all
      seconds hash_all "${blobs[@]}"
      seconds hash_all "${tars[@]}"
      seconds copy_all
    } | awk '{ sum += $1 } END { printf "%.3f\n", sum / 2 }' >>"$work/floor"
    seconds native >>"$work/native"
    if have umoci && have mke2fs; then seconds unpack_and_mke2fs >>"$work/umoci"; fi
  done
  floor=$(median <"$work/floor")
  printf '| %s | %s | %s | %s |\n' "$(basename "$layout")" "$floor" \
    "$(ratio "$(median <"$work/native")" "$floor")" "$(ratio "$(median <"$work/umoci")" "$floor")"
  rm -f "$work"/*.tar "$work/copy"
done
for tool in "${!missing[@]}"; do echo "missing: $tool"; done
