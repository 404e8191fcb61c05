#!/usr/bin/env bash
# Runs the tests of what hosts differ in on emulated systems, and compares the images that they build
# with those of this machine. Lints what only other hosts compile.
#
#   emulated.sh [bytes|quick]
#     bytes   for every change: the sample and the ext4 crate's trees on s390x and Windows; macOS lints
#     quick   for a change that can concern systems: without arm64 and the longest tests
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}

# Little to compile and fast enough, with the checks for overflow and of invariants.
level=1
[ "$part" != bytes ] || level=0
fast() {
  # insta looks for its snapshots beside the source, and asks Cargo where that is; there is none in Wine.
  INSTA_UPDATE=no INSTA_WORKSPACE_ROOT=$PWD CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=$level \
    release/cargo-for.sh "$@"
}

# Builds the sample with a command, the program and what comes before it, and prints digests.
sample() {
  local place
  place=$(mktemp -d target/cross/sample.XXXXXX)
  for architecture in amd64 arm64; do
    "$@" --json rootfs build --image oci:examples/hello --allow-mutable --arch "$architecture" --state-dir "$place/state" \
      --out "$place/$architecture.ext4" >"$place/report"
  done
  (cd "$place" && sha256sum ./*.ext4)
  rm -r "$place"
}

targets=(aarch64-unknown-linux-musl s390x-unknown-linux-gnu x86_64-pc-windows-gnu)
# Code that only these compile is linted only here. There is no emulator of macOS.
linted=(x86_64-pc-windows-gnu aarch64-apple-darwin)
of=(--all-targets)
case "$part" in
bytes) linted=(aarch64-apple-darwin) of=(--lib --bins) targets=("${targets[@]:1}") ;;
quick) of=(--lib --bins) targets=("${targets[@]:1}") ;;
esac

tests_on() { # TARGET
  local ext4=(--skip bounds::) suite=(golden::images_from_layouts)
  # These start the program, which QEMU does only where the kernel has been told of it.
  local skipped=(--skip programs:: --skip surroundings::)
  case "$part" in
  bytes)
    fast "$1" test --quiet --package microagent-ext4 --test suite -- golden:: dump::
    return
    ;;
  quick) ext4+=(--skip journal:: --skip roundtrip::) ;;
  all) suite+=(golden:: layers::) ;;
  esac
  case "$1" in
  # Wine starts it. e2fsck does not run there: it has judged the same bytes.
  *-windows-*) suite+=(cli::) && unset REQUIRE_ORACLES ;;
  # The table of digests once: it takes minutes, and only the processor is another.
  *-linux-*) skipped+=(--skip cli:: --skip a_registry_gives --skip only_identity --skip the_digest_is --skip the_number_of_threads) ;;
  esac
  fast "$1" test --quiet --package microagent-ext4 --lib --test suite -- "${ext4[@]}"
  fast "$1" test --quiet --package microagent-layer --package microagent-oci --package microagent --lib --bins
  fast "$1" test --quiet --test suite -- "${suite[@]}" "${skipped[@]}"
}

# With the tests, which CI has built already.
cargo test --quiet --workspace --no-run
native=$(sample target/debug/microagent)
for target in "${targets[@]}"; do
  printf -- '-- %s (%d s)\n' "$target" "$SECONDS"
  tests_on "$target"
  emulated=$(sample fast "$target" run --quiet --)
  if [ "$emulated" != "$native" ]; then
    printf '%s builds\n%s\nand this machine\n%s\n' "$target" "$emulated" "$native" >&2
    exit 1
  fi
done

if [ "$part" != bytes ]; then
  python3 release/ctrl_c.py release/wine.sh target/x86_64-pc-windows-gnu/debug/microagent.exe
fi

for target in "${linted[@]}"; do
  printf -- '-- lints for %s (%d s)\n' "$target" "$SECONDS"
  fast "$target" clippy --quiet --workspace "${of[@]}" -- -D warnings
done

# The ext4 crate needs no C compiler, nor an operating system to speak of.
printf -- '-- ext4 without C (%d s)\n' "$SECONDS"
for target in aarch64-apple-darwin x86_64-pc-windows-gnu wasm32-wasip1; do
  CC=false cargo check --quiet --package microagent-ext4 --target "$target"
done
printf -- '-- done (%d s)\n' "$SECONDS"
