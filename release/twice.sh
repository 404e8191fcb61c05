#!/usr/bin/env bash
# Makes the release of HEAD twice, from clones in directories of different names, and compares what comes out.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d "$root/target/twice.XXXXXX")
trap 'rm -rf "$work"' EXIT
for place in "$work/a" "$work/another-directory/b"; do
  git clone --quiet "$root" "$place"
  mkdir "$place/target"
  ln -s "$root/target/cross" "$place/target/cross"
  "$place/release/release.sh" "$place/target/release-files"
done
diff "$work/a/target/release-files/SHA256SUMS" "$work/another-directory/b/target/release-files/SHA256SUMS"
printf 'the same files, twice\n'
