#!/usr/bin/env python3
"""Compares two directory trees entry by entry. Keeps an entry of each and hard links in memory.

usage: compare_trees.py [--max N] REFERENCE TREE

Compares the presence of every path, type, mode, owner, mtime to the nanosecond, size and content of
regular files, targets of symlinks, device numbers, every xattr that listxattr shows, and hard-link
groups: link count, and the first path of the group in tree order. Ignores a /lost+found that only
TREE has.

Prints each difference, at most N of a kind (default 5), and a last line with the count of each kind.
Exit status: 0 equal, 1 different, 2 a tree cannot be read.
"""

import argparse
import collections
import hashlib
import itertools
import os
import stat
import sys

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def walk(path, name=b"/"):
    """Yields every entry below `path` as (name, path, status): parents first, in byte order."""
    status = os.lstat(path)
    yield name, path, status
    if stat.S_ISDIR(status.st_mode):
        for child in sorted(os.listdir(path)):
            yield from walk(path + b"/" + child, name.rstrip(b"/") + b"/" + child)


def xattrs(path):
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names}


def content(path):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def facts(name, path, status, groups):
    """Returns the attributes of an entry to compare, by kind of difference.

    `groups` maps inodes with several names to the first name and the digest.
    """
    kind = stat.S_IFMT(status.st_mode)
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    found = {
        "type": TYPES[kind],
        "mode": oct(stat.S_IMODE(status.st_mode)),
        "owner": f"{status.st_uid}:{status.st_gid}",
        "mtime": f"{seconds}.{nanoseconds:09}",
        "xattrs": xattrs(path),
    }
    digest = None
    if kind != stat.S_IFDIR and status.st_nlink > 1:
        first, digest = groups.setdefault((status.st_dev, status.st_ino), (name, None))
        found["links"] = f"{status.st_nlink} from {printable(first)}"
    if kind == stat.S_IFREG:
        found["size"] = status.st_size
        found["content"] = digest or content(path)
        if status.st_nlink > 1:
            groups[status.st_dev, status.st_ino] = (first, found["content"])
    elif kind == stat.S_IFLNK:
        found["target"] = printable(os.readlink(path))
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        found["device"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return found


def printable(name):
    return name.decode("utf-8", "backslashreplace")


def order(entry):
    """Tree order: a directory's entries follow it before its next sibling."""
    return entry[0].split(b"/") if entry[0] != b"/" else []


def pairs(reference, tree):
    """Pairs the entries of both walks by path. None stands for a missing entry."""
    left, right = next(reference, None), next(tree, None)
    while left or right:
        if right is None or (left and order(left) < order(right)):
            yield left, None
            left = next(reference, None)
        elif left is None or order(right) < order(left):
            yield None, right
            right = next(tree, None)
        else:
            yield left, right
            left, right = next(reference, None), next(tree, None)


def differences(reference, tree):
    """Yields (kind, path, text) of every difference."""
    groups_of_reference, groups_of_tree = {}, {}
    for expected, actual in pairs(walk(reference), walk(tree)):
        if actual is None:
            yield "missing", expected[0], ""
        elif expected is None:
            if actual[0] != b"/lost+found":
                yield "extra", actual[0], ""
        else:
            left, right = facts(*expected, groups_of_reference), facts(*actual, groups_of_tree)
            if left["type"] != right["type"]:
                left, right = {"type": left["type"]}, {"type": right["type"]}
            for kind in dict.fromkeys(itertools.chain(left, right)):
                if left.get(kind) != right.get(kind):
                    yield kind, expected[0], f"{left.get(kind)} -> {right.get(kind)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max", type=int, default=5)
    parser.add_argument("reference")
    parser.add_argument("tree")
    arguments = parser.parse_args()
    # The walk recurses once for each level of the tree, which PATH_MAX limits.
    sys.setrecursionlimit(10000)
    counts = collections.Counter()
    for kind, name, what in differences(os.fsencode(arguments.reference), os.fsencode(arguments.tree)):
        counts[kind] += 1
        if counts[kind] <= arguments.max:
            print(f"{kind}: {printable(name)} {what}")
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "no differences")
    return 1 if counts else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        print(f"compare_trees.py: {error}", file=sys.stderr)
        sys.exit(2)
