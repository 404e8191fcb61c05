#!/usr/bin/env bash
# zig as the archiver of all targets: GNU's writes no index of other systems' objects.
exec "$ZIG" ar "$@"
