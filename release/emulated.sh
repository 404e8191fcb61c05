#!/usr/bin/env bash
# Runs the tests that depend on the host on emulated systems, and compares the images that they
# build with those of this machine. Lints the code that only other hosts compile.
#
#   emulated.sh [bytes|quick]
#     bytes   for every change: the sample and the ext4 crate's trees on s390x and Windows; macOS
#             lints
#     quick   for a change that depends on the system: without arm64 and the longest tests
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}

# Quick to compile and to run, with checks for overflow and debug assertions.
level=1
[ "$part" != bytes ] || level=0
fast() {
  # insta looks for snapshots in the source directory. It would ask Cargo, which Wine does not have.
  INSTA_UPDATE=no INSTA_WORKSPACE_ROOT=$PWD CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=$level \
    release/cargo-for.sh "$@"
}

# Builds the sample with a command, which runs the program, and prints the digests of the images.
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
# Systems with code of their own. macOS is linted alone, since it has no emulator.
linted=(x86_64-pc-windows-gnu aarch64-apple-darwin)
of=(--all-targets)
case "$part" in
bytes) linted=(aarch64-apple-darwin) of=(--lib --bins) targets=("${targets[@]:1}") ;;
quick) of=(--lib --bins) targets=("${targets[@]:1}") ;;
esac

tests_on() { # TARGET
  local ext4=(--skip bounds::) suite=(golden::images_from_layouts)
  # These start the program, which works under QEMU only where binfmt_misc is configured.
  local skipped=(--skip programs:: --skip environment::)
  case "$part" in
  bytes)
    fast "$1" test --quiet --package microagent-ext4 --test suite -- golden:: dump::
    return
    ;;
  quick) ext4+=(--skip journal:: --skip roundtrip::) ;;
  all) suite+=(golden:: layers::) ;;
  esac
  case "$1" in
  # Wine starts the program. It has no e2fsck, which has checked the same bytes on this machine.
  *-windows-*) suite+=(cli::) && unset REQUIRE_ORACLES ;;
  # Only the processor differs. The table of digests takes minutes, so it is compared once.
  *-linux-*)
    skipped+=(--skip cli::)
    skipped+=(--skip golden::the_number_of_threads_does_not_matter)
    skipped+=(--skip golden::output_digest_covers_all_bytes_of_the_file)
    skipped+=(--skip golden::images_from_a_registry_have_the_same_bytes)
    skipped+=(--skip golden::compression_changes_only_uuid_seed_and_provenance)
    ;;
  esac
  fast "$1" test --quiet --package microagent-ext4 --lib --test suite -- "${ext4[@]}"
  fast "$1" test --quiet --package microagent-layer --package microagent-oci --package microagent --lib --bins
  fast "$1" test --quiet --test suite -- "${suite[@]}" "${skipped[@]}"
}

# Builds the program and the tests. In CI, they are built already.
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

# The ext4 crate needs neither a C compiler nor an operating system.
printf -- '-- ext4 without C (%d s)\n' "$SECONDS"
for target in aarch64-apple-darwin x86_64-pc-windows-gnu wasm32-wasip1; do
  CC=false cargo check --quiet --package microagent-ext4 --target "$target"
done
printf -- '-- done (%d s)\n' "$SECONDS"
