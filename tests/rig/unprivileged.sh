#!/usr/bin/env bash
# unprivileged.sh COMMAND: runs a command of Cargo's in this repository as a user other than root, who
# has Rust, a C compiler, coreutils and find, and no tool that judges images. Needs root, on Debian.
set -euo pipefail
cd "$(dirname "$0")/../.."
export command=$1 root user=65534
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root"/{bin,cargo,rustup,source,home/cargo/registry}
# Sources that Cargo has unpacked belong to root, and not all of them can be read by others.
cp -r "${CARGO_HOME:-$HOME/.cargo}"/registry/{cache,index} "$root/home/cargo/registry"
chown -R "$user:$user" "$root/home"
mapfile -t programs < <(dpkg -L coreutils findutils | grep -E '^(/usr)?/s?bin/')
for program in sh bash sed grep cc gcc ld as ar; do programs+=("$(command -v "$program")"); done
ln -s "${programs[@]}" "$root/bin"
# Mounts of its own, which end with the command, in a directory that all users may enter.
# shellcheck disable=SC2016 # the inner shell expands them
unshare --mount --propagation private bash -c '
  set -euo pipefail
  mount --bind "${CARGO_HOME:-$HOME/.cargo}" "$root/cargo"
  mount --bind "${RUSTUP_HOME:-$HOME/.rustup}" "$root/rustup"
  mkdir -p target
  mount --bind . "$root/source"
  mount -t tmpfs none "$root/source/target"
  # e2fsck and the like, which some tests find where root would.
  mount -t tmpfs none /usr/sbin
  cd "$root/source"
  exec setpriv --reuid="$user" --regid="$user" --clear-groups env --ignore-environment \
    PATH="$root/bin:$root/cargo/bin" HOME="$root/home" TMPDIR="$root/home" \
    CARGO_HOME="$root/home/cargo" CARGO_TARGET_DIR="$root/home/target" CARGO_NET_OFFLINE=true \
    RUSTUP_HOME="$root/rustup" sh -c "$command"
'
