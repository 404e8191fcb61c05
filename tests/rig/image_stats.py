#!/usr/bin/env python3
"""Counts entries of OCI layouts by kind. Prints TSV: a line for each layer, and for each image.

usage: image_stats.py LAYOUT...
"""

import collections
import json
import subprocess
import sys
import tarfile
from pathlib import Path

COLUMNS = [
    "compressed", "uncompressed", "entries", "files", "directories", "symlinks", "hardlinks", "devices", "fifos",
    "whiteouts", "opaques", "xattrs", "setuid",
]
DECOMPRESSORS = {"gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dcq"]}


def kind(member):
    base = member.name.rpartition("/")[2]
    if base == ".wh..wh..opq":
        return "opaques"
    if base.startswith(".wh."):
        return "whiteouts"
    tests = {
        "hardlinks": member.islnk,
        "symlinks": member.issym,
        "directories": member.isdir,
        "fifos": member.isfifo,
        "devices": member.isdev,
    }
    return next((name for name, test in tests.items() if test()), "files")


class Counted:
    """A stream that counts the bytes read."""

    def __init__(self, stream):
        self.stream = stream
        self.count = 0

    def read(self, size):
        data = self.stream.read(size)
        self.count += len(data)
        return data


def layer_stats(path, media_type):
    stats = collections.Counter(compressed=path.stat().st_size)
    command = DECOMPRESSORS.get(media_type.rpartition("+")[2], ["cat"])
    with subprocess.Popen([*command, path], stdout=subprocess.PIPE) as decompressor:
        plain = Counted(decompressor.stdout)
        with tarfile.open(fileobj=plain, mode="r|", bufsize=1 << 20) as archive:
            for member in archive:
                archive.members = []  # otherwise it keeps all members
                stats["entries"] += 1
                stats[kind(member)] += 1
                stats["xattrs"] += any(key.startswith("SCHILY.xattr") for key in member.pax_headers)
                stats["setuid"] += bool(member.mode & 0o4000)
        while plain.read(1 << 20):
            pass
        stats["uncompressed"] = plain.count
    return stats


def image_manifests(layout, descriptors):
    for descriptor in descriptors:
        document = json.loads(blob(layout, descriptor).read_bytes())
        if "manifests" in document:
            yield from image_manifests(layout, document["manifests"])
        else:
            yield document


def blob(layout, descriptor):
    return layout / "blobs" / descriptor["digest"].replace(":", "/")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print("image", "layer", "media", *COLUMNS, sep="\t")
    for layout in map(Path, sys.argv[1:]):
        top = json.loads((layout / "index.json").read_bytes())
        for manifest in image_manifests(layout, top["manifests"]):
            total = collections.Counter()
            for index, layer in enumerate(manifest["layers"]):
                stats = layer_stats(blob(layout, layer), layer["mediaType"])
                total += stats
                media = layer["mediaType"].rpartition(".")[2]
                print(layout.name, index, media, *(stats[column] for column in COLUMNS), sep="\t", flush=True)
            print(layout.name, "all", f"{len(manifest['layers'])} layers", *(total[c] for c in COLUMNS), sep="\t")


main()
