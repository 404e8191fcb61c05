#!/usr/bin/env bash
# Runs zig as ar for all targets: GNU ar does not index objects of other systems.
exec "$ZIG" ar "$@"
