#!/usr/bin/env bash
# Runs the tests of what hosts differ in on those that can be emulated here, and has each build the sample image: it must have
# the bytes that this machine gives it. Lints what only other hosts compile.
#
#   emulated.sh [quick]     quick, for every change: what differs most from this machine, in less than half the time
set -euo pipefail
cd "$(dirname "$0")/.."

# Little to compile and fast enough, with the checks for overflow and of invariants.
fast() {
  # insta looks for its snapshots beside the source, and asks Cargo where that is; there is none in Wine.
  INSTA_UPDATE=no INSTA_WORKSPACE_ROOT=$PWD CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=1 \
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
ext4=(--package microagent-ext4 --lib --test boot_area --test check --test dump --test exact --test golden --test places --test read)
root=(--package microagent --lib)
linted=(--workspace)
if [ "${1:-}" = quick ]; then
  targets=("${targets[@]:1}")
  linted+=(--lib --bins)
else
  ext4+=(--test roundtrip)
  root+=(--test golden --test layers)
  linted+=(--all-targets)
fi

cargo build --quiet
native=$(sample target/debug/microagent)
for target in "${targets[@]}"; do
  printf -- '-- %s (%d s)\n' "$target" "$SECONDS"
  tests=("${root[@]}")
  # These start the program, which QEMU does only where the kernel has been told of it.
  skipped=(--skip programs:: --skip surroundings::)
  case "$target" in
    # Wine starts it. e2fsck does not run there: it has judged the same bytes.
    *-windows-*) tests+=(--bins --test cli) && unset REQUIRE_ORACLES ;;
    # Once through the table of digests is enough where it takes minutes: what is new is another processor.
    *-linux-*) skipped+=(--skip a_registry_gives --skip only_identity --skip the_digest_is --skip the_number_of_threads) ;;
  esac
  fast "$target" test --quiet "${ext4[@]}"
  fast "$target" test --quiet "${tests[@]}" -- "${skipped[@]}"
  emulated=$(sample fast "$target" run --quiet --)
  if [ "$emulated" != "$native" ]; then
    printf '%s builds\n%s\nand this machine\n%s\n' "$target" "$emulated" "$native" >&2
    exit 1
  fi
done

python3 release/ctrl_c.py release/wine.sh target/x86_64-pc-windows-gnu/debug/microagent.exe

# What only these compile is linted only here; there is no emulator of macOS.
for target in x86_64-pc-windows-gnu aarch64-apple-darwin; do
  printf -- '-- lints for %s (%d s)\n' "$target" "$SECONDS"
  fast "$target" clippy --quiet "${linted[@]}" -- -D warnings
done

# The ext4 crate needs no C compiler, nor an operating system to speak of.
printf -- '-- ext4 without C (%d s)\n' "$SECONDS"
for target in aarch64-apple-darwin x86_64-pc-windows-gnu wasm32-wasip1; do
  CC=false cargo check --quiet --package microagent-ext4 --target "$target"
done
printf -- '-- done (%d s)\n' "$SECONDS"
