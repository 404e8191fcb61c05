#!/usr/bin/env bash
# boot-rootfs.sh IMAGE [--init PATH] [--marker TEXT] [--kernel PACKAGE] [--timeout SECONDS]
#                [--append ARGUMENTS] [--ctrl-alt-del TEXT] [--ro] [--write] [--cut]
#
# Boots a raw ext4 image (a whole disk) in QEMU, without hardware acceleration, and prints its
# console.
#   exit 0    the console showed the marker (default "microagent-init: exit ")
#   exit 1    the machine ended without it
#   exit 124  timeout
#   exit 2    wrong usage, or something is missing
#
# The image is not changed unless --write is given. --ctrl-alt-del presses these keys once the
# console has shown TEXT. --cut cuts the power at the marker; otherwise the machine has 30 s from
# there to power off by itself. --kernel names a Debian package, of which the newest version is
# used. Its name ends in the machine's architecture, amd64 or arm64; linux-image-cloud-amd64 is 6.1,
# and linux-image-6.12-cloud-amd64 is 6.12. An initramfs loads the drivers and mounts the root.
#
# QEMU and kernels are downloaded once, and unpacked into $BOOT_CACHE. Nothing is installed, since
# Debian's qemu-system-x86 conflicts with a newer qemu-utils. `boot-rootfs.sh --fetch [PACKAGE...]`
# only downloads and unpacks them.
set -euo pipefail
cache=${BOOT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/boot-rootfs}
image='' init=/sbin/microagent-init marker='microagent-init: exit ' kernel=linux-image-cloud-amd64 timeout=120 append=''
flags=rw snapshot=on cut='' keys_at='' fetch='' grace=30
die() { echo "boot-rootfs: $*" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case $1 in --init|--marker|--kernel|--timeout|--append|--ctrl-alt-del) [ $# -ge 2 ] || die "$1 needs a value" ;; esac
  case $1 in
    --init) init=$2; shift ;;
    --marker) marker=$2; shift ;;
    --kernel) kernel=$2; shift ;;
    --timeout) timeout=$2; shift ;;
    --append) append=$2; shift ;;
    --ctrl-alt-del) keys_at=$2; shift ;;
    --ro) flags=ro ;;
    --write) snapshot=off ;;
    --cut) cut=1 ;;
    --fetch) shift; fetch=("${@:-$kernel}"); break ;;
    -*) die "unknown option $1" ;;
    *) [ -z "$image" ] || die "one image only"; image=$1 ;;
  esac
  shift
done

mkdir -p "$cache"; cache=$(cd "$cache" && pwd)
exec 9>"$cache/lock"; flock 9
host=$(dpkg --print-architecture)

# apt_for ARCHITECTURE COMMAND...: runs an apt command. If it fails, updates the package lists and
# runs it again. Lists of another architecture are kept in the cache, not on the machine.
apt_for() {
  local architecture=$1 command=$2 options=(-qq -o APT::Sandbox::User=root -o Debug::NoLocking=true)
  shift 2
  if [ "$architecture" != "$host" ]; then
    local own=$cache/apt-$architecture
    mkdir -p "$own/lists/partial" "$own/archives/partial"; : >"$own/status"
    options+=(-o "APT::Architecture=$architecture" -o "APT::Architectures::=$architecture"
      -o "Dir::State=$own" -o "Dir::State::status=$own/status" -o "Dir::Cache=$own")
  fi
  "$command" "${options[@]}" "$@" 2>/dev/null || { apt-get "${options[@]}" update >&2 && "$command" "${options[@]}" "$@"; }
}
# unpack DIRECTORY PACKAGE ARCHITECTURE: unpacks a package without its dependencies.
unpack() {
  local debs; debs=$(mktemp -d "$cache/debs.XXXXXX")
  rm -rf "${cache:?}/$1"; mkdir -p "$cache/$1.part"
  (cd "$debs" && apt_for "$3" apt-get download "$2" >&2) || die "cannot download $2"
  dpkg -x "$debs"/*.deb "$cache/$1.part" && mv "$cache/$1.part" "$cache/$1" && rm -rf "$debs"
}
# unpack_all DIRECTORY PACKAGE: unpacks a package with the dependencies that this machine lacks.
unpack_all() {
  local debs deb; debs=$(mktemp -d "$cache/debs.XXXXXX"); mkdir "$debs/partial"
  rm -rf "${cache:?}/$1"; mkdir -p "$cache/$1.part"
  apt_for "$host" apt-get -y --no-install-recommends --download-only -o "Dir::Cache::archives=$debs" install "$2" >&2 ||
    die "cannot download $2"
  for deb in "$debs"/*.deb; do dpkg -x "$deb" "$cache/$1.part"; done
  mv "$cache/$1.part" "$cache/$1"; rm -rf "$debs"
}
busybox() { # ARCHITECTURE: prints the path of busybox
  [ -x "$cache/busybox-$1/bin/busybox" ] || unpack "busybox-$1" busybox-static "$1"
  echo "$cache/busybox-$1/bin/busybox"
}

# choose PACKAGE: selects the machine for a kernel's package, and the program that emulates it.
choose() {
  local package program
  arch=${1##*-}
  case $arch in
    amd64) package=qemu-system-x86 program=qemu-system-x86_64 machine=(-M q35 -cpu max) console=ttyS0 ;;
    arm64) package=qemu-system-arm program=qemu-system-aarch64 machine=(-M virt -cpu cortex-a72) console=ttyAMA0 ;;
    *) die "$1 is neither for amd64 nor for arm64" ;;
  esac
  qemu=("$program") libraries=
  if ! command -v "$program" >/dev/null; then
    [ -x "$cache/$package/usr/bin/$program" ] || unpack_all "$package" "$package"
    qemu=("$cache/$package/usr/bin/$program" -L "$cache/$package/usr/share/qemu" -L "$cache/$package/usr/share/seabios")
    libraries=$(echo "$cache/$package"/usr/lib/*-linux-gnu):$(echo "$cache/$package"/lib/*-linux-gnu)
  fi
}

# prepare PACKAGE: unpacks a kernel, and makes an initramfs that mounts /dev/vda and starts its
# init.
prepare() {
  local directory=$cache/$1 real scratch module path number=10
  [ ! -s "$directory/initramfs" ] || return 0
  real=$(apt_for "$arch" apt-cache depends "$1" | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
  unpack "$1" "${real:-$1}" "$arch"
  scratch=$(mktemp -d "$cache/initramfs.XXXXXX")
  mkdir -p "$scratch"/{bin,dev,proc,mnt,modules}
  cp "$(busybox "$arch")" "$scratch/bin/busybox"; ln -s busybox "$scratch/bin/sh"
  # In the order of their dependencies. Modules that are built in or missing are skipped.
  for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk \
    crc16 crc32c_generic crc32c-intel libcrc32c mbcache jbd2 ext4; do
    path=$(find "$directory"/lib/modules "$directory"/usr/lib/modules -name "$module.ko*" 2>/dev/null | head -n1 || true)
    [ -n "$path" ] || continue
    number=$((number + 1))
    case $path in *.xz) xz -dc "$path" ;; *.zst) zstd -dqc "$path" ;; *) cat "$path" ;; esac >"$scratch/modules/$number.ko"
  done
  cat >"$scratch/init" <<'INIT'
#!/bin/sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev; exec </dev/console >/dev/console 2>&1
$b mount -t proc proc /proc
init=/sbin/init flags=ro
for word in $($b cat /proc/cmdline); do
  case $word in init=*) init=${word#init=} ;; ro|rw) flags=$word ;; esac
done
for module in /modules/*.ko; do $b insmod $module || echo "boot-rootfs: cannot load $module"; done
i=0; while [ ! -b /dev/vda ] && [ $i -lt 200 ]; do $b usleep 50000; i=$((i + 1)); done
if ! $b mount -t ext4 -o $flags /dev/vda /mnt; then
  echo "boot-rootfs: cannot mount the image"; $b dmesg | $b tail -n 5; $b poweroff -f
fi
# As after a boot without an initramfs: only /dev is mounted (CONFIG_DEVTMPFS_MOUNT).
[ -d /mnt/dev ] && $b mount --move /dev /mnt/dev
$b umount /proc
exec $b switch_root /mnt $init
INIT
  chmod 755 "$scratch/init"
  (cd "$scratch" && find . | "$(busybox "$host")" cpio -o -H newc -R 0:0 2>/dev/null | gzip -1) >"$directory/initramfs.part"
  mv "$directory/initramfs.part" "$directory/initramfs"; rm -rf "$scratch"
}
if [ -n "${fetch[*]}" ]; then
  for package in "${fetch[@]}"; do choose "$package"; prepare "$package"; done
  exit 0
fi
choose "$kernel"
prepare "$kernel"
exec 9>&-

[ -r "$image" ] || die "cannot read the image \"$image\""
vmlinuz=$(find "$cache/$kernel/boot" -name 'vmlinuz-*' | head -n1)
[ -s "$vmlinuz" ] || die "no kernel in $cache/$kernel"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/boot-rootfs.XXXXXX")
vm='' log=$scratch/console
: >"$log"
mkfifo "$scratch/monitor"; exec 8<>"$scratch/monitor"
ended() { [ -z "$vm" ] || ! kill -0 "$vm" 2>/dev/null; }
trap 'ended || kill -KILL "$vm"; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
LD_LIBRARY_PATH=$libraries QEMU_MODULE_DIR=${libraries:+${libraries%%:*}/qemu} \
  "${qemu[@]}" "${machine[@]}" -accel tcg -m 256 -smp 1 -nodefaults -no-user-config \
  -display none -no-reboot -serial "file:$log" -monitor stdio -kernel "$vmlinuz" -initrd "$cache/$kernel/initramfs" \
  -drive "file=${image//,/,,},format=raw,if=virtio,snapshot=$snapshot" \
  -append "console=$console quiet panic=-1 no_timer_check random.trust_cpu=on root=/dev/vda $flags init=$init $append" \
  <&8 >"$scratch/qemu" 2>&1 &
vm=$!

shown=0 seen='' status=1 start=$(date +%s%N)
show() {
  local size; size=$(stat -c %s "$log")
  if [ "$size" -gt "$shown" ]; then tail -c +$((shown + 1)) "$log" | head -c $((size - shown)) | tr -d '\r'; shown=$size; fi
}
elapsed() { echo $((($(date +%s%N) - start) / 1000000)); }
while :; do
  # Reads the console after the check for the end, so that its last lines are not missed.
  over=''; ended && over=1
  show
  if [ -n "$keys_at" ] && grep -qaF -- "$keys_at" "$log"; then echo 'sendkey ctrl-alt-delete' >&8; keys_at=''; fi
  if [ -z "$seen" ] && grep -qaF -- "$marker" "$log"; then seen=$(elapsed); status=0; fi
  if [ -n "$over" ] || { [ -n "$seen" ] && [ -n "$cut" ]; }; then break; fi
  if [ -n "$seen" ] && [ "$(elapsed)" -gt $((seen + grace * 1000)) ]; then
    echo "boot-rootfs: no power-off within $grace s of the marker" >&2; status=1; break
  fi
  if [ -z "$seen" ] && [ "$(elapsed)" -gt $((timeout * 1000)) ]; then status=124; break; fi
  sleep 0.1
done
ended || kill -KILL "$vm"
wait "$vm" 2>/dev/null || true
show
[ -s "$log" ] || cat "$scratch/qemu" >&2
echo "boot-rootfs: $(basename "$vmlinuz"), marker after ${seen:-∞} ms, end after $(elapsed) ms" >&2
exit "$status"
