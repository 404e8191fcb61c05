#!/usr/bin/env python3
"""Unpacks one platform of an OCI layout with umoci, as root, into a tree to compare images with.

usage: reference_unpack.py LAYOUT ARCHITECTURE DIRECTORY

umoci 0.4 supports neither zstd nor nested indexes. This script makes a layout with the same config
over layers decompressed by gzip and zstd, and umoci verifies each layer by its diff ID.

umoci sets the time of directories without an entry in a layer, such as the root, from the clock. The
script sets it to the epoch, as in our images, which depend on their layers alone.
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

DECOMPRESSORS = {b"\x1f\x8b": ["gzip", "-dc"], b"\x28\xb5": ["zstd", "-dcq"]}
MEDIA = "application/vnd.oci.image."


def blob(layout, digest):
    return layout / "blobs" / digest.replace(":", "/")


def read(layout, descriptor):
    return json.loads(blob(layout, descriptor["digest"]).read_bytes())


def find_manifest(layout, descriptors, architecture):
    """Returns the first manifest whose config names the architecture, also in nested indexes."""
    for descriptor in descriptors:
        document = read(layout, descriptor)
        if "manifests" in document:
            if found := find_manifest(layout, document["manifests"], architecture):
                return found
        elif read(layout, document["config"]).get("architecture") == architecture:
            return document
    return None


def decompress(source, target):
    with source.open("rb", buffering=0) as layer, target.open("wb") as plain:
        command = DECOMPRESSORS.get(layer.read(2), ["cat"])
        layer.seek(0)
        subprocess.run(command, stdin=layer, stdout=plain, check=True)


def store(layout, media_type, document):
    data = json.dumps(document).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blob(layout, digest).write_bytes(data)
    return {"mediaType": MEDIA + media_type, "digest": digest, "size": len(data)}


def write_plain_layout(plain, layout, manifest):
    """Writes the layout for umoci, and returns the paths of its layers."""
    (plain / "blobs" / "sha256").mkdir(parents=True)
    config = read(layout, manifest["config"])
    layers = []
    for descriptor, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        target = blob(plain, diff_id)
        decompress(blob(layout, descriptor["digest"]), target)
        layers.append({"mediaType": MEDIA + "layer.v1.tar", "digest": diff_id, "size": target.stat().st_size})
    stored = store(plain, "config.v1+json", config)
    top = store(plain, "manifest.v1+json", {"schemaVersion": 2, "config": stored, "layers": layers})
    top["annotations"] = {"org.opencontainers.image.ref.name": "plain"}
    (plain / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (plain / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    return [blob(plain, layer["digest"]) for layer in layers]


def listed_directories(tree, layers):
    """Returns the paths of directories with an entry in a layer, resolved inside `tree`."""
    listed = set()
    for layer in layers:
        with tarfile.open(layer, "r:", encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                archive.members = []  # otherwise it keeps all members
                if member.isdir():
                    listed.add(resolve(tree, os.fsencode(member.name)))
    return listed


def resolve(tree, name):
    """Resolves the parents of `name` inside `tree`, which is the root of absolute targets."""
    path = tree
    pending = [part for part in name.split(b"/") if part not in (b"", b".")][::-1]
    while pending:
        part = pending.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            path = os.path.dirname(path) if path != tree else tree
            continue
        step = path + b"/" + part
        if pending and os.path.islink(step):
            target = os.readlink(step)
            path = tree if target.startswith(b"/") else path
            pending += target.split(b"/")[::-1]
        else:
            path = step
    return path


def settle_times(tree, listed):
    for directory, _, _ in os.walk(tree, topdown=False):
        if directory not in listed:
            os.utime(directory, (0, 0))


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    layout, architecture, directory = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).absolute()
    manifest = find_manifest(layout, json.loads((layout / "index.json").read_bytes())["manifests"], architecture)
    if manifest is None:
        sys.exit(f"{layout} holds no {architecture} image")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="plain-") as temporary:
        layers = write_plain_layout(Path(temporary), layout, manifest)
        umoci = ["umoci", "--log", "error", "raw", "unpack", "--image", f"{temporary}:plain", str(directory)]
        subprocess.run(umoci, check=True)
        tree = os.fsencode(directory)
        settle_times(tree, listed_directories(tree, layers))


main()
