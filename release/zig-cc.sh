#!/usr/bin/env bash
# zig as the C compiler of a target: $ZIG_TARGET in zig's words, in place of what cc calls it.
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
