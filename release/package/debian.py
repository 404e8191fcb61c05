"""Debian packages, by dpkg-deb. Their bytes depend on the files and SOURCE_DATE_EPOCH alone."""

import gzip
import os
import subprocess
import tempfile
from pathlib import Path

from archive import File

MAINTAINER = "The microagent authors <microagent@users.noreply.github.com>"
ARCHITECTURES = {"x86_64-unknown-linux-musl": "amd64", "aarch64-unknown-linux-musl": "arm64"}

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Source: {repository}

Files: *
Copyright: The microagent authors
License: Apache-2.0
 On Debian systems, the text of the Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0. What is linked in,
 and under which terms, is in THIRD-PARTY-LICENSES.txt beside this file.
"""

CONTROL = """\
Package: microagent
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Section: utils
Priority: optional
Homepage: {repository}
Description: {description}
 An OCI image goes in, from a registry or from files, and one ext4 disk image comes out, which boots in a virtual
 machine. The same image always gives the same bytes. The program is linked statically and needs nothing else.
"""


def deb(files: list[File], version: str, target: str, repository: str, description: str, epoch: int) -> bytes:
    placed = dict(place(path, content) for path, content, _ in files)
    placed["usr/share/doc/microagent/copyright"] = COPYRIGHT.format(repository=repository).encode()
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        for path, content in placed.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o755 if path.startswith("usr/bin/") else 0o644)
        control = CONTROL.format(
            version=version,
            architecture=ARCHITECTURES[target],
            maintainer=MAINTAINER,
            size=sum(map(len, placed.values())) // 1024,
            repository=repository,
            description=description,
        )
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN/control").write_text(control)
        for path in [tree, *tree.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
        out = Path(directory) / "package.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, out]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        return out.read_bytes()


def place(path: str, content: bytes) -> tuple[str, bytes]:
    """Returns the path of an archive's file on Debian, and its content."""
    name = path.rsplit("/", 1)[-1]
    if name == "microagent":
        return "usr/bin/microagent", content
    if name.endswith(".1"):
        return f"usr/share/man/man1/{name}.gz", gzip.compress(content, 9, mtime=0)
    completions = {
        "microagent.bash": "usr/share/bash-completion/completions/microagent",
        "_microagent": "usr/share/zsh/vendor-completions/_microagent",
        "microagent.fish": "usr/share/fish/vendor_completions.d/microagent.fish",
    }
    if name == "CHANGELOG.md":
        return "usr/share/doc/microagent/changelog.gz", gzip.compress(content, 9, mtime=0)
    return completions.get(name, f"usr/share/doc/microagent/{name}"), content
