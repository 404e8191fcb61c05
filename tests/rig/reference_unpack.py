#!/usr/bin/env python3
"""Unpacks one platform of an OCI layout with umoci, as root: the tree that every image of ours is compared with.

usage: reference_unpack.py LAYOUT ARCHITECTURE DIRECTORY

umoci 0.4 reads neither zstd nor nested indexes, so it is given a layout of its own that holds the same manifest over
plain layers, decompressed by gzip and zstd. umoci verifies each against its diff_id.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

DECOMPRESSORS = {b"\x1f\x8b": ["gzip", "-dc"], b"\x28\xb5": ["zstd", "-dcq"]}
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def blob(layout, digest):
    return layout / "blobs" / digest.replace(":", "/")


def read(layout, descriptor):
    return json.loads(blob(layout, descriptor["digest"]).read_bytes())


def find_manifest(layout, descriptors, architecture):
    """The first manifest whose config names the architecture, searched through nested indexes."""
    for descriptor in descriptors:
        document = read(layout, descriptor)
        if "manifests" in document:
            found = find_manifest(layout, document["manifests"], architecture)
            if found:
                return found
        elif read(layout, document["config"]).get("architecture") == architecture:
            return document
    return None


def decompress(source, target):
    with source.open("rb", buffering=0) as layer, target.open("wb") as plain:
        command = DECOMPRESSORS.get(layer.read(2), ["cat"])
        layer.seek(0)
        subprocess.run(command, stdin=layer, stdout=plain, check=True)


def store(layout, document):
    data = json.dumps(document).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blob(layout, digest).write_bytes(data)
    return {"digest": digest, "size": len(data)}


def plain_layout(layout, manifest, plain):
    (plain / "blobs" / "sha256").mkdir(parents=True)
    config = read(layout, manifest["config"])
    layers = []
    for descriptor, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        target = blob(plain, diff_id)
        decompress(blob(layout, descriptor["digest"]), target)
        layers.append({"mediaType": LAYER, "digest": diff_id, "size": target.stat().st_size})
    stored = {"mediaType": "application/vnd.oci.image.config.v1+json", **store(plain, config)}
    top = {"mediaType": MANIFEST, **store(plain, {"schemaVersion": 2, "config": stored, "layers": layers})}
    top["annotations"] = {"org.opencontainers.image.ref.name": "plain"}
    (plain / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (plain / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    layout, architecture, directory = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    manifest = find_manifest(layout, json.loads((layout / "index.json").read_bytes())["manifests"], architecture)
    if manifest is None:
        sys.exit(f"{layout} holds no {architecture} image")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="plain-") as temporary:
        plain_layout(layout, manifest, Path(temporary))
        umoci = ["umoci", "--log", "error", "raw", "unpack", "--image", f"{temporary}:plain", os.fspath(directory)]
        sys.exit(subprocess.run(umoci).returncode)


main()
