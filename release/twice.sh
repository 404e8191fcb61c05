#!/usr/bin/env bash
# twice.sh [quick]: makes the release of HEAD twice, from clones in directories of different names,
# and compares the files. quick: without optimisation, for macOS and Windows alone.
set -euo pipefail
if [ "${1:-}" = quick ]; then
  export TARGETS='aarch64-apple-darwin x86_64-pc-windows-gnu'
  export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
fi
cd "$(dirname "$0")/.."
root=$PWD
mkdir -p "$root/target"
work=$(mktemp -d "$root/target/twice.XXXXXX")
trap 'rm -rf "$work"' EXIT
one=$work/one
other=$work/elsewhere/and-longer
git clone --quiet "$root" "$one"
# From the first clone, since HEAD of this one may have changed.
git clone --quiet "$one" "$other"
for place in "$one" "$other"; do
  mkdir "$place/target"
  ln -s "$root/target/cross" "$place/target/cross"
  "$place/release/release.sh" "$place/target/files"
done
diff "$one/target/files/SHA256SUMS" "$other/target/files/SHA256SUMS"
printf 'both releases have the same files\n'
