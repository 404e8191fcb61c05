#!/usr/bin/env bash
# Installs what the oracles and the rig's images need, on Debian 12 and later, as root.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

packages=(
  attr ca-certificates e2fsprogs libcap2-bin mount procps util-linux # look at images and mount them
  strace                                                             # let system calls fail
  xz-utils                                                           # unpack kernels' modules
  libarchive-tools mtree-netbsd                                      # read descriptions of trees
  skopeo umoci zstd                                                  # read OCI layouts
  buildah debootstrap                                                # make images
  docker-registry openssl                                            # serve them
  exfat-fuse exfatprogs                                              # build on a file system of another kind
  fuse2fs grub-common p7zip-full sleuthkit                           # read images without the kernel
  bzip2 git libarchive-tools lz4 pax                                 # write layers
  g++ libc6-dev python3 python3-venv                                 # build, and run the scripts here
)
# What comes from elsewhere, such as npm with Node.js, containerd with Docker, busybox-static, conflicts with Debian's package.
for package in busybox containerd npm; do
  command -v "$package" >/dev/null || packages+=("$package")
done

# For the init of arm64, which needs no C library.
if command -v rustup >/dev/null; then rustup target add aarch64-unknown-linux-gnu; fi

apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
