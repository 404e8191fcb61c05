"""Writes the sample image, an OCI layout for two platforms, into a directory. Prints its digest.

usage: python3 examples/make-hello [examples/hello]

The image is small, and contains some text files and the difficult entries of real images. Its bytes
depend on these sources alone, and not on the clock, the umask, the locale or the host's compression
libraries, so that the digest in the README does not change.
"""

import hashlib
import json
import sys
from pathlib import Path

from compression import gzip_member, zstd_frame, zstd_skippable
from layers import first_layer, program_layer, second_layer, third_layer


MEDIA = "application/vnd.oci.image."


class Layout:
    """An image layout (image-spec image-layout.md)."""

    def __init__(self, root):
        self.root = root

    def blob(self, media_type, data, **more):
        digest = hashlib.sha256(data).hexdigest()
        path = self.root / "blobs" / "sha256" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"mediaType": MEDIA + media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def document(self, media_type, document, **more):
        return self.blob(media_type, json.dumps(document, indent=1).encode() + b"\n", **more)

    def finish(self, index):
        (self.root / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}\n')
        tagged = {**index, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
        top = {"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json", "manifests": [tagged]}
        (self.root / "index.json").write_bytes(json.dumps(top, indent=1).encode() + b"\n")


def image(layout, shared, platform):
    """Adds the manifest of a platform: the shared layers, and a layer with its program."""
    own = program_layer(platform["architecture"])
    layers = [*shared, (own, layout.blob("layer.v1.tar", own))]
    config = layout.document("config.v1+json", {
        "created": "2026-01-01T00:00:00Z",
        **platform,
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin"], "Cmd": ["/usr/bin/hello"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest() for tar, _ in layers]},
    })
    manifest = {
        "schemaVersion": 2,
        "mediaType": MEDIA + "manifest.v1+json",
        "config": config,
        "layers": [descriptor for _, descriptor in layers],
    }
    return layout.document("manifest.v1+json", manifest, platform=platform)


def shared_layers(layout):
    """Adds the shared layers, one for each compression. Returns the tar and the descriptor of each."""
    first, second, third = first_layer(), second_layer(), third_layer()
    # A gzip member or a zstd frame may end within a tar entry.
    cut = len(first) // 2 + 100
    members = gzip_member(first[:cut]) + gzip_member(first[cut:])
    cut = len(second) // 2 + 100
    frames = zstd_frame(second[:cut]) + zstd_skippable(b"nothing to see") + zstd_frame(second[cut:])
    return [
        (first, layout.blob("layer.v1.tar+gzip", members)),
        (second, layout.blob("layer.v1.tar+zstd", frames)),
        (third, layout.blob("layer.v1.tar", third)),
    ]


def main():
    layout = Layout(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "hello")
    shared = shared_layers(layout)
    platforms = [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    index = layout.document("index.v1+json", {
        "schemaVersion": 2,
        "mediaType": MEDIA + "index.v1+json",
        "manifests": [image(layout, shared, platform) for platform in platforms],
    })
    layout.finish(index)
    print(index["digest"])


main()
