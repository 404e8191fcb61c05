#!/usr/bin/env bash
# Runs a Windows program in Wine, with its own prefix and without messages of Wine.
set -euo pipefail
tools=$(cd "$(dirname "$0")/.." && pwd)/target/cross
export WINEPREFIX=$tools/wine WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
exec wine "$@"
