#!/usr/bin/env bash
# cargo-for.sh TARGET COMMAND [ARGUMENT...]: runs cargo with --target, and with the compiler, linker
# and emulator of that target. install-tools.sh installs these on Debian 12; Rust comes from rustup.
# A new target also needs a line in install-tools.sh, and in release.sh if it is released.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=$1
command=$2
shift 2

tools=$here/../target/cross
variable=${target//-/_}
set_for_cargo() { export "CARGO_TARGET_${variable^^}_$1=$2"; }

# Paths of this machine must not be part of the program.
crates=${CARGO_HOME:-$HOME/.cargo}/registry/src
flags=("--remap-path-prefix=$crates=/crates" "--remap-path-prefix=$(cd "$here/.." && pwd)=/microagent")
export "CFLAGS_$variable=-ffile-prefix-map=$crates=/crates"

# Compiles the C code of ring and zstd. Rust's own linker links the objects.
compile_with_zig() {
  export ZIG=$tools/zig ZIG_TARGET=$1
  export "CC_$variable=$here/zig-cc.sh" "AR_$variable=$here/zig-ar.sh"
  set_for_cargo LINKER rust-lld
}

compile_with_gcc() {
  export "CC_$variable=$1-gcc" "AR_$variable=$1-ar"
  set_for_cargo LINKER "$1-gcc"
}

case "$target" in
  *-unknown-linux-musl)
    compile_with_zig "${target%%-*}-linux-musl"
    [ "$target" = "$(uname -m)-unknown-linux-musl" ] || set_for_cargo RUNNER "qemu-${target%%-*}-static"
    ;;
  *-apple-darwin)
    compile_with_zig "${target%%-*}-macos"
    # Debugging information contains paths and times of object files, on which the program's UUID
    # would depend.
    flags+=("-Clinker-flavor=ld64.lld" "-Clink-arg=-S")
    export SDKROOT=$tools/macos-sdk
    ;;
  x86_64-pc-windows-gnu)
    compile_with_gcc x86_64-w64-mingw32
    # The linker would write the time into the program, and symbols contain paths.
    flags+=("-Clink-arg=-Wl,--no-insert-timestamp")
    export CARGO_PROFILE_RELEASE_STRIP=symbols
    set_for_cargo RUNNER "$here/wine.sh"
    ;;
  s390x-unknown-linux-gnu)
    compile_with_gcc s390x-linux-gnu
    export QEMU_LD_PREFIX=/usr/s390x-linux-gnu
    set_for_cargo RUNNER qemu-s390x-static
    ;;
  *)
    printf 'cargo-for.sh: unknown target %s\n' "$target" >&2
    exit 2
    ;;
esac
encoded=$(printf '%s\x1f' "${flags[@]}")
export CARGO_ENCODED_RUSTFLAGS=${encoded%$'\x1f'}
exec cargo "$command" --target "$target" "$@"
