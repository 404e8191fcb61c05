"""ctrl_c.py PROGRAM...: types Ctrl-C at a build in a terminal, and checks that no file is left.

For Windows programs in Wine, whose console turns the key into an event. tests/cli/signals.rs tests
signals on Linux.
"""

import gzip
import json
import os
import pty
import select
import sys
import tarfile
import tempfile
import time
from hashlib import sha256
from pathlib import Path

MEMBER, COUNT = 16 << 20, 448  # A file of 7 GiB of zeros, made of many gzip members.
PATIENCE = 60  # seconds


def layout(directory: Path) -> str:
    """Makes an image layout, and returns the digest of its only image."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(kind: str, content: bytes) -> dict:
        digest = sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    header = tarfile.TarInfo("zeros")
    header.size = MEMBER * COUNT
    layer = blob("layer.v1.tar+gzip", gzip.compress(header.tobuf()) + gzip.compress(bytes(MEMBER)) * COUNT)
    never_reached = f"sha256:{sha256(b'').hexdigest()}"
    rootfs = {"type": "layers", "diff_ids": [never_reached]}
    config = blob("config.v1+json", json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode())
    manifest = blob(
        "manifest.v1+json", json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
    )
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return manifest["digest"]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        place, out = Path(scratch) / "layout", Path(scratch) / "out"
        out.mkdir()
        command = [*sys.argv[1:], "rootfs", "build", "--arch=amd64", "--init=none", f"--image=oci:{place}@{layout(place)}"]
        process, terminal = pty.fork()
        if process == 0:
            os.execvp(command[0], [*command, f"--out={out}/disk.ext4", f"--state-dir={scratch}/state"])
        said, begun, deadline = b"", False, time.monotonic() + PATIENCE
        while True:
            if time.monotonic() > deadline:
                os.kill(process, 9)
                sys.exit(f"the build did not end in {PATIENCE} s: {said[-1000:]!r}")
            if not begun and b"applying" in said:
                # Wine takes over the terminal only while the first progress is printed.
                time.sleep(1)
                begun = os.write(terminal, b"\x03") == 1
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    part = os.read(terminal, 1 << 16)
                except OSError:  # on Linux, the other end is closed
                    break
                said += part
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        left = [path.name for path in out.iterdir()]
        if (begun, status, left) != (True, 130, []):
            sys.exit(f"Ctrl-C was typed: {begun}, exit status {status}, left {left}: {said[-1000:]!r}")


main()
