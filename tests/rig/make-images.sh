#!/usr/bin/env bash
# Makes real OCI images from Debian and npm packages, with content that no test invented. Needs
# root, and what install-tools.sh installs. Images that exist are kept.
#
#   make-images.sh [base|tools|tools-zstd|many|systemd|python|single|big|<any of them>-zstd]...
#                                                       default: base tools tools-zstd many systemd
#
# The images are OCI layouts in $RIG/images/<name>, with the tag "latest". RIG defaults to
# target/rig.
#   base        1 layer   Debian's minbase, a file capability, setuid files, devices
#   tools       4 layers  base + git, perl, sudo + an application + a layer that deletes files,
#                         replaces them and changes their types
#   tools-zstd  4 layers  the layers of tools, compressed with zstd
#   many        4 layers  base + nodejs + some 50,000 small files + thousands of whiteouts
#   systemd     2 layers  base + systemd, udev, dbus and a unit that reports the boot on the console
# For benchmarks, with packages from PyPI:
#   python      4 layers  base + Python + numpy, scipy, pandas + a layer that replaces and deletes
#                         files; 0.7 GB
#   single      1 layer   the tree of python
#   big         6 layers  python + compilers + torch + tensorflow; 5 GB
set -Eeuo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C BUILDAH_ISOLATION=chroot
umask 022

here=$(cd "$(dirname "$0")" && pwd)
rig=${RIG:-$here/../../target/rig}
mkdir -p "$rig"/{images,log,npm,debootstrap}
rig=$(cd "$rig" && pwd)

trap 'tail -n 20 "$rig"/log/*.log >&2; echo "make-images.sh: failed, see $rig/log" >&2' ERR

# overlayfs cannot be stacked on the overlayfs of a container.
driver=overlay
[ "$(stat -f -c %T "$rig")" = overlayfs ] && driver=vfs

store() { buildah --root "$rig/storage" --runroot "$rig/runroot" --storage-driver "$driver" "$@"; }

has() { store inspect --type image "localhost/rig-$1" >/dev/null 2>&1; }

begin() { # CONTAINER IMAGE: prints where the container's tree is mounted
  store rm "$1" >/dev/null 2>&1 || true
  store from --pull-never --name "$1" "$2" >/dev/null
  store mount "$1"
}

commit() { # CONTAINER IMAGE: one layer
  store umount "$1" >/dev/null
  store commit -q --format oci --rm "$1" "localhost/rig-$2" >/dev/null
}

export_layout() { # IMAGE NAME
  rm -rf "$rig/images/$2.part"
  store push -q "localhost/rig-$1" "oci:$rig/images/$2.part:latest"
  mv "$rig/images/$2.part" "$rig/images/$2"
  echo "made $rig/images/$2"
}

in_root() { # TREE COMMAND...: uses a mount namespace, so that /proc is unmounted with the command
  local tree=$1
  shift
  cp /etc/resolv.conf "$tree/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
  chmod 755 "$tree/usr/sbin/policy-rc.d"
  # shellcheck disable=SC2016 # the inner shell expands them
  unshare --mount --propagation private sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$tree" \
    /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
  rm -f "$tree/usr/sbin/policy-rc.d"
}

install_in() { # TREE PACKAGE...
  local tree=$1
  shift
  {
    in_root "$tree" apt-get update -qq
    in_root "$tree" apt-get install -y -qq --no-install-recommends "$@"
  } >>"$rig/log/apt.log" 2>&1
  rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*
}

make_base() {
  local tree
  tree=$(begin base scratch)
  debootstrap --variant=minbase --cache-dir="$rig/debootstrap" \
    --include=ca-certificates,iputils-ping,libcap2-bin,login,passwd,mount bookworm "$tree" >"$rig/log/debootstrap.log" 2>&1
  in_root "$tree" dpkg-reconfigure iputils-ping # sets the capability of ping
  rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*
  commit base base
  export_layout base base
}

make_tools() {
  local tree
  has base || make_base

  tree=$(begin tools localhost/rig-base)
  install_in "$tree" git perl sudo less acl
  commit tools tools-1

  tree=$(begin tools localhost/rig-tools-1)
  in_root "$tree" useradd -m -u 4242 app
  mkdir -p "$tree/srv/app/data" "$tree/srv/shared"
  cp -a "$tree/usr/share/perl" "$tree/srv/app/perl"
  in_root "$tree" chown -R app:app /srv/app
  chmod 3775 "$tree/srv/shared"
  in_root "$tree" setfacl -m u:4242:rwx -d -m g:100:rx /srv/shared
  setfattr -n user.note -v "kept by the image" "$tree/srv/app/data"
  ln "$tree/usr/bin/perl" "$tree/srv/app/perl-hard"
  mkfifo -m 0640 "$tree/srv/app/fifo"
  mknod "$tree/srv/app/loop9" b 7 9
  truncate -s 64M "$tree/srv/app/sparse"
  printf end | dd of="$tree/srv/app/sparse" bs=1 seek=40000000 conv=notrunc status=none
  commit tools tools-2

  tree=$(begin tools localhost/rig-tools-2)
  rm -rf "$tree"/usr/share/doc/* "$tree"/usr/share/man/* # whiteouts
  rm -rf "$tree/srv/app/perl" # an opaque directory
  mkdir "$tree/srv/app/perl"
  echo new >"$tree/srv/app/perl/only"
  rm -f "$tree/etc/motd" # file to directory
  mkdir "$tree/etc/motd"
  echo hello >"$tree/etc/motd/00-hello"
  rm -rf "$tree/srv/app/data" # directory to symlink
  ln -s /var "$tree/srv/app/data"
  ln -sf issue.net "$tree/etc/issue" # file to symlink
  chmod 0750 "$tree/srv/app" # metadata alone
  in_root "$tree" chown -R 4242:100 /srv/app
  rm -f "$tree/srv/app/perl-hard" # one of two links
  in_root "$tree" apt-get purge -y -qq less >>"$rig/log/apt.log" 2>&1
  commit tools tools-3
  export_layout tools-3 tools
}

make_zstd() { # NAME: copies an image, with layers compressed by zstd
  [ -d "$rig/images/$1" ] || "make_$1"
  rm -rf "$rig/images/$1-zstd.part"
  skopeo copy -q --dest-compress-format zstd "oci:$rig/images/$1:latest" "oci:$rig/images/$1-zstd.part:latest"
  mv "$rig/images/$1-zstd.part" "$rig/images/$1-zstd"
  echo "made $rig/images/$1-zstd"
}

make_systemd() {
  local tree
  has base || make_base

  tree=$(begin systemd localhost/rig-base)
  install_in "$tree" systemd-sysv udev dbus
  : >"$tree/etc/machine-id" # each machine makes its own
  cat >"$tree/etc/systemd/system/report.service" <<'UNIT'
[Unit]
Description=Report the boot, and power off
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/report
StandardOutput=tty
TTYPath=/dev/console

[Install]
WantedBy=default.target
UNIT
  cat >"$tree/usr/local/sbin/report" <<'REPORT'
#!/bin/sh
echo
[ ! -e /var/lib/report ] || echo "report: what an earlier boot wrote is there"
touch /var/lib/report
sync
echo "report: root is $(findmnt -no OPTIONS,FSTYPE / | tr -s ' ')"
echo "report: failed units: $(systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1 | tr '\n' ' ')"
systemctl --no-block poweroff
REPORT
  chmod 755 "$tree/usr/local/sbin/report"
  in_root "$tree" systemctl enable report.service >>"$rig/log/apt.log" 2>&1
  commit systemd systemd
  export_layout systemd systemd
}

make_many() {
  local tree
  has base || make_base

  tree=$(begin many localhost/rig-base)
  install_in "$tree" nodejs
  commit many many-1

  tree=$(begin many localhost/rig-many-1)
  mkdir "$tree/app"
  printf '{"name":"app","version":"1.0.0","private":true}\n' >"$tree/app/package.json"
  (cd "$tree/app" && timeout 600 npm install --ignore-scripts --no-audit --no-fund --legacy-peer-deps --cache "$rig/npm" \
    typescript@5 date-fns@3 rxjs@7 lodash-es@4 core-js@3 @mui/icons-material@5) >"$rig/log/npm.log" 2>&1
  chown -R 1000:1000 "$tree/app"
  commit many many-2

  tree=$(begin many localhost/rig-many-2)
  find "$tree/app/node_modules" -name '*.d.ts' -delete
  rm -rf "$tree/app/node_modules/rxjs/src"
  commit many many-3
  export_layout many-3 many
}

pip_in() { # TREE PACKAGE...: installs wheels for Debian's Python, and compiles bytecode as pip does
  local tree=$1
  shift
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary=:all: --python-version 3.11 \
    --target "$tree/usr/local/lib/python3.11/dist-packages" "$@" >>"$rig/log/pip.log" 2>&1
  in_root "$tree" python3 -m compileall -q /usr/local/lib/python3.11/dist-packages >>"$rig/log/pip.log" 2>&1 || true
}

make_python() {
  local tree
  has base || make_base

  tree=$(begin python localhost/rig-base)
  install_in "$tree" python3 libgfortran5 libopenblas0-pthread
  commit python python-1

  tree=$(begin python localhost/rig-python-1)
  pip_in "$tree" numpy==1.26.4 scipy==1.14.1 pandas==2.2.3 python-dateutil pytz tzdata six
  commit python python-2

  tree=$(begin python localhost/rig-python-2)
  rm -rf "$tree"/usr/local/lib/python3.11/dist-packages/{numpy,scipy,pandas}/tests
  pip_in "$tree" --upgrade scipy==1.15.2
  rm -rf "$tree"/usr/share/doc/*
  commit python python-3
  export_layout python-3 python
}

make_single() {
  has python-3 || make_python
  store rm single >/dev/null 2>&1 || true
  store from --pull-never --name single localhost/rig-python-3 >/dev/null
  store commit -q --format oci --squash --rm single localhost/rig-single >/dev/null
  export_layout single single
}

make_big() {
  local tree
  has python-3 || make_python

  tree=$(begin big localhost/rig-python-3)
  install_in "$tree" build-essential clang gfortran golang-go cmake
  commit big big-1

  tree=$(begin big localhost/rig-big-1)
  pip_in "$tree" torch==2.6.0 typing_extensions
  commit big big-2

  tree=$(begin big localhost/rig-big-2)
  pip_in "$tree" tensorflow-cpu==2.18.0
  commit big big-3
  export_layout big-3 big
}

[ $# -gt 0 ] || set -- base tools tools-zstd many systemd
for name in "$@"; do
  case $name in
  base | tools | many | systemd | python | single | big) [ -d "$rig/images/$name" ] || "make_$name" ;;
  *-zstd) [ -d "$rig/images/$name" ] || make_zstd "${name%-zstd}" ;;
  *)
    echo "make-images.sh: no image is called $name" >&2
    exit 2
    ;;
  esac
done
