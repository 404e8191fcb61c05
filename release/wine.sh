#!/usr/bin/env bash
# Runs a Windows program in a Wine of its own, which says nothing itself.
set -euo pipefail
tools=$(cd "$(dirname "$0")/.." && pwd)/target/cross
export WINEPREFIX=$tools/wine WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
exec wine "$@"
