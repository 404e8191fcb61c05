"""Packages a release: archives, Debian packages, a formula, bills of materials and checksums.

python3 release/package OUT DOCUMENTS EPOCH TARGET...

Takes the programs from target/<target>/release, and manual pages and completions from DOCUMENTS. The
output depends on these files alone: all times are EPOCH, in seconds since 1970.
"""

import sys
from hashlib import sha256
from pathlib import Path

from archive import tar_gz, zip_
from debian import ARCHITECTURES, deb
from dependencies import crates
from homebrew import TARGETS as HOMEBREW_TARGETS
from homebrew import formula
from licences import licences
from sbom import sbom

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CHANGELOG.md", "LICENSE")


def main() -> None:
    out, documents, epoch, *targets = sys.argv[1:]
    out, documents, epoch = Path(out), Path(documents), int(epoch)
    out.mkdir(parents=True)
    archives = {}
    for target in targets:
        program, linked = crates(ROOT, target)
        is_windows = "-windows-" in target
        name = "microagent.exe" if is_windows else "microagent"
        files = [(name, (ROOT / "target" / target / "release" / name).read_bytes(), True)]
        files += [(document, (ROOT / document).read_bytes(), False) for document in DOCUMENTS]
        files += [
            (str(path.relative_to(documents)), path.read_bytes(), False)
            for path in documents.rglob("*")
            if path.is_file()
        ]
        files.append(("THIRD-PARTY-LICENSES.txt", licences(linked, target), False))
        files.append(("microagent.cdx.json", sbom(program, linked, target, epoch), False))

        stem = f"microagent-{program.version}-{target}"
        inside = [(f"{stem}/{path}", content, is_program) for path, content, is_program in files]
        archive = f"{stem}.zip" if is_windows else f"{stem}.tar.gz"
        packed = zip_(inside, epoch) if is_windows else tar_gz(inside, epoch)
        (out / archive).write_bytes(packed)
        archives[target] = archive, sha256(packed).hexdigest()
        (out / f"{stem}.cdx.json").write_bytes(sbom(program, linked, target, epoch))
        if target in ARCHITECTURES:
            package = deb(files, program.version, target, program.repository, program.description, epoch)
            (out / f"microagent_{program.version}_{ARCHITECTURES[target]}.deb").write_bytes(package)
    if set(HOMEBREW_TARGETS.values()) <= set(archives):
        made = formula(program.version, program.repository, program.description, archives)
        (out / "microagent.rb").write_bytes(made)
    sums = "".join(f"{sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(out.iterdir()))
    (out / "SHA256SUMS").write_text(sums)


main()
