#!/usr/bin/env bash
# Installs the tools of the tests and of the rig's scripts, on Debian 12 and later, as root.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

packages=(
  attr ca-certificates e2fsprogs libcap2-bin mount procps util-linux # inspect and mount images
  strace                                                             # make system calls fail
  xz-utils                                                           # unpack kernel modules
  libarchive-tools mtree-netbsd                                      # read mtree descriptions
  skopeo umoci zstd                                                  # read OCI layouts
  buildah debootstrap                                                # make images
  docker-registry openssl                                            # serve them
  exfat-fuse exfatprogs                                              # build on another file system
  fuse2fs grub-common p7zip-full sleuthkit                           # read images without the kernel
  bzip2 git libarchive-tools lz4 pax                                 # write layers
  g++ libc6-dev python3 python3-venv                                 # build, and run scripts
)
# Installed copies from elsewhere conflict with Debian's packages: npm with Node.js, containerd with
# Docker, busybox-static.
for package in busybox containerd npm; do
  command -v "$package" >/dev/null || packages+=("$package")
done

# To build the init for arm64, which needs no C library.
if command -v rustup >/dev/null; then rustup target add aarch64-unknown-linux-gnu; fi

apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
