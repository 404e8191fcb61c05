"""The crates linked into the program for a target, from cargo metadata."""

import json
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Crate:
    name: str
    version: str
    licence: str
    checksum: str | None  # SHA-256 of the crate's archive, from Cargo.lock
    repository: str | None
    description: str | None
    directory: Path
    identity: str
    needs: tuple[str, ...]  # identities


def crates(root: Path, target: str) -> tuple[Crate, list[Crate]]:
    """Returns the program's own crate, and the crates linked into it, by name and version."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"]
    metadata = json.loads(subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    checksums = lock_checksums(root)

    def needs(identity: str) -> list[str]:
        linked = (
            edge["pkg"] for edge in nodes[identity]["deps"] if any(kind["kind"] is None for kind in edge["dep_kinds"])
        )
        return sorted(linked)

    def crate(identity: str) -> Crate:
        package = packages[identity]
        return Crate(
            name=package["name"],
            version=package["version"],
            licence=" OR ".join(part.strip() for part in (package["license"] or "").split("/")),
            checksum=checksums.get((package["name"], package["version"])),
            repository=package["repository"],
            description=package["description"],
            directory=Path(package["manifest_path"]).parent,
            identity=identity,
            needs=tuple(needs(identity)),
        )

    program = metadata["resolve"]["root"]
    found, pending = set(), [program]
    while pending:
        identity = pending.pop()
        if identity not in found:
            found.add(identity)
            pending.extend(needs(identity))
    found.remove(program)
    return crate(program), sorted(map(crate, found), key=lambda crate: (crate.name, crate.version))


def lock_checksums(root: Path) -> dict[tuple[str, str], str]:
    lock = tomllib.loads((root / "Cargo.lock").read_text())
    return {
        (package["name"], package["version"]): package["checksum"]
        for package in lock["package"]
        if "checksum" in package
    }
