#!/usr/bin/env bash
# unprivileged.sh COMMAND: runs a command of Cargo's in this repository as somebody who has Rust, a C compiler and coreutils, and
# nothing else: not root, and no tool that judges images. Needs root, on Debian.
set -euo pipefail
cd "$(dirname "$0")/../.."
export command=$1 root user=65534
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root"/{bin,cargo,rustup,source,home/cargo/registry}
# What is unpacked there is root's, and some of it for nobody else to read.
cp -r "${CARGO_HOME:-$HOME/.cargo}"/registry/{cache,index} "$root/home/cargo/registry"
chown -R "$user:$user" "$root/home"
mapfile -t programs < <(dpkg -L coreutils | grep -E '^(/usr)?/s?bin/')
for program in sh bash kill sed grep cc gcc ld as ar; do programs+=("$(command -v "$program")"); done
ln -s "${programs[@]}" "$root/bin"
# Where all may enter, with mounts that go when the command ends.
# shellcheck disable=SC2016 # the inner shell expands them
unshare --mount --propagation private bash -c '
  set -euo pipefail
  mount --bind "${CARGO_HOME:-$HOME/.cargo}" "$root/cargo"
  mount --bind "${RUSTUP_HOME:-$HOME/.rustup}" "$root/rustup"
  mkdir -p target
  mount --bind . "$root/source"
  mount -t tmpfs none "$root/source/target"
  cd "$root/source"
  exec setpriv --reuid="$user" --regid="$user" --clear-groups env --ignore-environment PATH="$root/bin:$root/cargo/bin" HOME="$root/home" \
    TMPDIR="$root/home" CARGO_HOME="$root/home/cargo" RUSTUP_HOME="$root/rustup" CARGO_TARGET_DIR="$root/home/target" CARGO_NET_OFFLINE=true sh -c "$command"
'
