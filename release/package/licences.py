"""The licences of the crates linked into the program, each text once."""

from collections import defaultdict

from dependencies import Crate

NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")
RULE = "=" * 80


def licences(crates: list[Crate], target: str) -> bytes:
    """Lists the crates with their SPDX expressions, then the licence texts.

    For crates without a text of their own, other crates' texts explain the expression.
    """
    holders = defaultdict(list)
    lines = ["What is linked into microagent, besides its own code, and under which terms.", ""]
    for crate in crates:
        lines.append(f"{crate.name} {crate.version}: {crate.licence or 'see its text'}")
        for text in texts(crate):
            holders[text].append(f"{crate.name} {crate.version}")
    lines.append("the Rust standard library: MIT OR Apache-2.0")
    if target.endswith("-musl"):
        lines.append("musl libc: MIT, copyright 2005-2020 Rich Felker, et al.")
    if target.endswith("-windows-gnu"):
        lines.append("the run-time library of mingw-w64: ZPL-2.1, and of GCC: GPL-3.0-or-later WITH GCC-exception-3.1")
    for text, names in sorted(holders.items(), key=lambda item: item[1]):
        lines += ["", RULE, ", ".join(names), RULE, "", text.rstrip()]
    return ("\n".join(lines) + "\n").encode()


def texts(crate: Crate) -> list[str]:
    found = set()
    # Bundled sources in other languages have their texts in a subdirectory.
    for pattern in ("*", "*/*"):
        for path in crate.directory.glob(pattern):
            if path.is_file() and path.name.upper().startswith(NAMES) and path.suffix not in (".rs", ".toml"):
                found.add(path.read_text(errors="replace").replace("\r\n", "\n").strip("\n"))
    return sorted(found)
