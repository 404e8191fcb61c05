#!/usr/bin/env bash
# Makes the release of HEAD twice, from clones in directories of different names, and compares what comes out.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d "$root/target/twice.XXXXXX")
trap 'rm -rf "$work"' EXIT
one=$work/one
other=$work/elsewhere/and-longer
git clone --quiet "$root" "$one"
# Of the first, as HEAD of this one may be another by now.
git clone --quiet "$one" "$other"
for place in "$one" "$other"; do
  mkdir "$place/target"
  ln -s "$root/target/cross" "$place/target/cross"
  "$place/release/release.sh" "$place/target/files"
done
diff "$one/target/files/SHA256SUMS" "$other/target/files/SHA256SUMS"
printf 'the same files, twice\n'
