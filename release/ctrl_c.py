"""ctrl_c.py PROGRAM...: begins a build that would take minutes in a terminal, types Ctrl-C, and sees that nothing is left.

For Windows programs in Wine, whose console makes an event of the key; tests/cli/signals.rs has what else Linux knows.
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
    """Makes an image layout, and returns the digest of the only image."""
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
                sys.exit(f"it went on for {PATIENCE} s: {said[-1000:]!r}")
            if not begun and b"applying" in said:
                # Wine takes the terminal over only while it shows the first of the progress.
                time.sleep(1)
                begun = os.write(terminal, b"\x03") == 1
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    part = os.read(terminal, 1 << 16)
                except OSError:  # how Linux says that nobody has the other end any more
                    break
                said += part
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        left = [path.name for path in out.iterdir()]
        if (begun, status, left) != (True, 130, []):
            sys.exit(f"Ctrl-C was typed: {begun}, exit status {status}, left {left}: {said[-1000:]!r}")


main()
