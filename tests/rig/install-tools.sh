#!/usr/bin/env bash
# Installs what the oracles and the rig's images need, on Debian 12 and later, as root.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

packages=(
  attr ca-certificates e2fsprogs libcap2-bin mount procps util-linux # look at images and mount them
  xz-utils                                                           # unpack kernels' modules
  libarchive-tools mtree-netbsd                                      # read descriptions of trees
  skopeo umoci zstd                                                  # read OCI layouts
  buildah debootstrap                                                # make images
  docker-registry                                                    # serve them
  g++ libc6-dev python3 python3-venv                                 # build, and run the scripts here
)
# Node.js from elsewhere brings its npm and conflicts with Debian's.
command -v npm >/dev/null || packages+=(npm)

apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
