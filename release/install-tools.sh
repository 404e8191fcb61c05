#!/usr/bin/env bash
# Installs what cargo-for.sh needs, on Debian 12 and later, as root, with Rust from rustup. What is
# not a Debian package goes into target/cross.
set -euo pipefail
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive
tools=$(cd .. && pwd)/target/cross

apt-get update -qq
apt-get install -y -qq --no-install-recommends \
  gcc-mingw-w64-x86-64-win32 gcc-s390x-linux-gnu libc6-dev-s390x-cross \
  python3 python3-venv qemu-user-static wine wine64 >/dev/null

rustup target add \
  x86_64-unknown-linux-musl aarch64-unknown-linux-musl x86_64-apple-darwin aarch64-apple-darwin x86_64-pc-windows-gnu \
  s390x-unknown-linux-gnu wasm32-wasip1

mkdir -p "$tools"
python3 -m venv "$tools/python"
"$tools/python/bin/pip" install --quiet ziglang==0.17.1
zig=$(echo "$tools"/python/lib/python3*/site-packages/ziglang)
ln -sf "$zig/zig" "$tools/zig"

# A minimal SDK for the linker: zig's libSystem without the CPUs that Rust's linker does not know,
# and the symbols of frameworks that the program uses, from macos-sdk.
sdk=$tools/macos-sdk
mkdir -p "$sdk/usr/lib"
sed -z -E 's/arm64e\.x1-[a-z]+,\s*//g; s/,\s*arm64e\.x1-[a-z]+//g' "$zig/lib/libc/darwin/libSystem.tbd" >"$sdk/usr/lib/libSystem.tbd"
for library in c m iconv; do ln -sf libSystem.tbd "$sdk/usr/lib/lib$library.tbd"; done
for stub in macos-sdk/*.tbd; do
  framework=$sdk/System/Library/Frameworks/$(basename "$stub" .tbd).framework
  mkdir -p "$framework"
  cp "$stub" "$framework"
done

# Debian's Wine has no bcryptprimitives.dll, from which Rust programs get random numbers.
export WINEPREFIX=$tools/wine WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
wineboot --init >/dev/null 2>&1
x86_64-w64-mingw32-gcc -O1 -shared -nostdlib -Wl,--entry=0 -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
  bcryptprimitives.c -ladvapi32
