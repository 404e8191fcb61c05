"""A software bill of materials in CycloneDX 1.5. Reproducible: no serial number, no paths."""

import json
from datetime import datetime, timezone

from dependencies import Crate


def sbom(program: Crate, crates: list[Crate], target: str, epoch: int) -> bytes:
    references = {crate.identity: reference(crate) for crate in [program, *crates]}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(program, "application"),
            "properties": [{"name": "cdx:rustc:sbom:target:triple", "value": target}],
        },
        "components": [component(crate, "library") for crate in crates],
        "dependencies": [
            {"ref": reference(crate), "dependsOn": sorted(references[need] for need in crate.needs)}
            for crate in [program, *crates]
        ],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def reference(crate: Crate) -> str:
    return f"pkg:cargo/{crate.name}@{crate.version}"


def component(crate: Crate, kind: str) -> dict:
    made = {
        "type": kind,
        "bom-ref": reference(crate),
        "name": crate.name,
        "version": crate.version,
        "scope": "required",
        "purl": reference(crate),
    }
    if crate.description:
        made["description"] = " ".join(crate.description.split())
    if crate.checksum:
        made["hashes"] = [{"alg": "SHA-256", "content": crate.checksum}]
    if crate.licence:
        made["licenses"] = [{"expression": crate.licence}]
    if crate.repository:
        made["externalReferences"] = [{"type": "vcs", "url": crate.repository}]
    return made
