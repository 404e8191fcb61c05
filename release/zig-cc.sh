#!/usr/bin/env bash
# Runs zig as the C compiler for $ZIG_TARGET, and drops the target options of the crate cc.
set -euo pipefail
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --target=* | -mmacosx-version-min=*) ;;
    -arch | -isysroot) shift ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
exec "$ZIG" cc -target "$ZIG_TARGET" "${arguments[@]}" -fno-sanitize=undefined
