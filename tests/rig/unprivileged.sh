#!/usr/bin/env bash
# unprivileged.sh COMMAND: runs a command of Cargo in this repository as a user other than root,
# with only Rust, a C compiler, coreutils and find, so without the tools of the tests. Needs root,
# on Debian.
set -euo pipefail
cd "$(dirname "$0")/../.."
export command=$1 root user=65534
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root"/{bin,cargo,rustup,source,home/cargo/registry}
# Copies packed crates only: unpacked sources belong to root, and other users cannot read all of
# them.
cp -r "${CARGO_HOME:-$HOME/.cargo}"/registry/{cache,index} "$root/home/cargo/registry"
chown -R "$user:$user" "$root/home"
mapfile -t programs < <(dpkg -L coreutils findutils | grep -E '^(/usr)?/s?bin/')
for program in sh bash sed grep cc gcc ld as ar; do programs+=("$(command -v "$program")"); done
ln -s "${programs[@]}" "$root/bin"
# Uses a mount namespace, which ends with the command, and a directory that all users may enter.
# shellcheck disable=SC2016 # the inner shell expands them
unshare --mount --propagation private bash -c '
  set -euo pipefail
  mount --bind "${CARGO_HOME:-$HOME/.cargo}" "$root/cargo"
  mount --bind "${RUSTUP_HOME:-$HOME/.rustup}" "$root/rustup"
  mkdir -p target
  mount --bind . "$root/source"
  mount -t tmpfs none "$root/source/target"
  # Hides e2fsck and similar tools, which some tests also search here.
  mount -t tmpfs none /usr/sbin
  cd "$root/source"
  exec setpriv --reuid="$user" --regid="$user" --clear-groups env --ignore-environment \
    PATH="$root/bin:$root/cargo/bin" HOME="$root/home" TMPDIR="$root/home" \
    CARGO_HOME="$root/home/cargo" CARGO_TARGET_DIR="$root/home/target" CARGO_NET_OFFLINE=true \
    RUSTUP_HOME="$root/rustup" sh -c "$command"
'
