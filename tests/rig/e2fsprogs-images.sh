#!/usr/bin/env bash
# Makes the images that e2fsprogs' own regression tests run e2fsck on, damaged and repaired. Needs
# what install-tools.sh installs, on Debian. Does nothing if the images exist.
#
#   e2fsprogs-images.sh
#
# The tests come with Debian's source package, and run with the installed e2fsprogs. Each call of
# e2fsck in test NAME leaves a copy of its image from before the call: $RIG/e2fsprogs/NAME.1, NAME.2
# and so on. RIG defaults to target/rig. The test's image.gz is NAME.0; an equal NAME.1 is omitted.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "$0")" && pwd)
rig=${RIG:-$here/../../target/rig}
mkdir -p "$rig"
rig=$(cd "$rig" && pwd)
[ ! -d "$rig/e2fsprogs" ] || exit 0

# In memory where possible, since each tool syncs at its end.
work=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,cache,source,run,tmp,images}
cd "$work"

# The machine's package sources, with source packages, which most machines do not list.
mkdir parts
for file in /etc/apt/sources.list.d/*.sources; do
  [ ! -e "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"parts/${file##*/}"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ ! -e "$file" ] || sed -n 's/^deb /deb-src /p' "$file" >"parts/${file##*/}"
done
options=(-qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts"
  -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
apt-get "${options[@]}" source --download-only e2fsprogs
tar -xf e2fsprogs_*.orig.tar.gz -C source --strip-components=1 --wildcards '*/tests/*'

# A wrapper of e2fsck that first copies the image, its last argument. The copy is named after the
# test, which the file name contains.
cat >e2fsck <<'KEEP'
#!/usr/bin/env bash
file=${!#}
name=$(basename "$file")
name=${name#e2fsprogs-tmp-}
name=${name%.*}
number=1
while [ -e "$KEEP_IN/$name.$number" ]; do number=$((number + 1)); done
[ ! -f "$file" ] || cp --sparse=always "$file" "$KEEP_IN/$name.$number"
exec e2fsck "$@"
KEEP
chmod +x e2fsck

# The environment of the tests, in place of tests/test_config.
cat >config <<CONFIG
FSCK=$work/e2fsck
MKE2FS=mke2fs DUMPE2FS=dumpe2fs TUNE2FS=tune2fs E2IMAGE=e2image DEBUGFS=debugfs E2UNDO=e2undo CHATTR=chattr LSATTR=lsattr
RESIZE2FS=resize2fs E2MMPSTATUS='dumpe2fs -m' TEST_BITS=test_data.tmp CLEAN_OUTPUT="sed -f $work/source/tests/filter.sed"
DEBUGFS_EXE=$(command -v debugfs) RESIZE2FS_EXE=$(command -v resize2fs) E2IMAGE_EXE=$(command -v e2image)
export E2FSCK_CONFIG=/dev/null MKE2FS_CONFIG=./mke2fs.conf BLKID_FILE=/dev/null TZ=GMT0 EXT2FS_NO_MTAB_OK=yes
export E2FSPROGS_SKIP_PROGRESS=yes E2FSPROGS_LIBMAGIC_SUPPRESS=yes RESIZE2FS_FORCE_LAZY_ITABLE_INIT=yes
CONFIG
sed 's/@[A-Za-z_]*@//' source/tests/mke2fs.conf.in >run/mke2fs.conf
seq 100000 >run/test_data.tmp
export KEEP_IN=$work/images SRCDIR=$work/source/tests TEST_CONFIG=$work/config TMPDIR=$work/tmp DD=dd

# The tests that are skipped wait for a clock, or make images of gigabytes.
find source/tests -mindepth 1 -maxdepth 1 -type d -name '[dfjmrt]_*' | sort |
  grep -v -e mmp -e large_dir -e big_expand -e f_illitable_flexbg |
  (cd run && xargs -P 2 -I TEST sh -c 'timeout --kill-after=1 60 bash ../source/tests/test_one.in --skip-slow-tests ../TEST; true') \
    >log 2>&1

for image in source/tests/*/image.gz; do
  name=images/$(basename "$(dirname "$image")")
  gzip -dc "$image" >whole
  cp --sparse=always whole "$name.0"
  if cmp -s "$name.0" "$name.1"; then rm "$name.1"; fi
done
made=$(find images -type f | wc -l)
if [ "$made" -lt 400 ]; then
  tail -n 20 log >&2
  echo "e2fsprogs-images.sh: made only $made images" >&2
  exit 1
fi
cp -r --sparse=always images "$rig/e2fsprogs.part"
mv "$rig/e2fsprogs.part" "$rig/e2fsprogs"
echo "made $made images in $rig/e2fsprogs"
