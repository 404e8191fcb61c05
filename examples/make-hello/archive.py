"""Tar entries byte by byte: POSIX.1-2017 pax headers, and GNU long names, as in Docker's layers."""

NEW_YEAR = 1767225600  # 2026-01-01T00:00:00Z, the default time of entries


def number(value, width):
    """Encodes a number of a header: in octal, or in base 256 if it does not fit."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (value & (256**width - 1) | 0x80 << 8 * (width - 1)).to_bytes(width, "big")


def block(name, kind, size=0, mode=0o644, owner=(0, 0), time=NEW_YEAR, target=b"", device=(0, 0)):
    fields = (
        name[:100].ljust(100, b"\0")
        + number(mode, 8) + number(owner[0], 8) + number(owner[1], 8)
        + number(size, 12) + number(max(int(time), 0), 12)
        + b" " * 8 + kind + target[:100].ljust(100, b"\0")
        + b"ustar\x0000" + b"\0" * 64
        + number(device[0], 8) + number(device[1], 8)
    ).ljust(512, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def padded(content):
    return content + b"\0" * (-len(content) % 512)


def records(pairs):
    """Encodes PAX records. Each starts with its length in decimal, itself included."""
    out = b""
    for key, value in pairs:
        body = b" %s=%s\n" % (key, value)
        length = len(body) + 1
        while len(b"%d" % length) + len(body) != length:
            length += 1
        out += b"%d" % length + body
    return out


def entry(name, kind=b"0", content=b"", time=NEW_YEAR, target=b"", xattrs=None, pax=(), **fields):
    """Returns an entry: a PAX header if a field does not fit ustar, the header, and the content."""
    extra = list(pax)
    if time != int(time) or time < 0:
        extra.append((b"mtime", str(time).encode()))
    if len(name) > 100 and not any(key == b"GNU.sparse.name" for key, _ in pax):
        extra.append((b"path", name))
    if len(target) > 100:
        extra.append((b"linkpath", target))
    extra += [(b"SCHILY.xattr." + key, value) for key, value in sorted((xattrs or {}).items())]
    head = b""
    if extra:
        body = records(extra)
        head = block(b"PaxHeaders/" + name[-80:], b"x", len(body)) + padded(body)
    return head + block(name, kind, len(content), time=time, target=target, **fields) + padded(content)


def directory(name, mode=0o755, **fields):
    return entry(name + b"/", b"5", mode=mode, **fields)


def symlink(name, target, **fields):
    return entry(name, b"2", target=target, mode=0o777, **fields)


def hard_link(name, target, **fields):
    return entry(name, b"1", target=target, **fields)


def device(name, kind, major, minor, mode, **fields):
    return entry(name, kind, device=(major, minor), mode=mode, **fields)


def whiteout(name):
    parent, _, base = name.rpartition(b"/")
    return entry(parent + b"/.wh." + base, mode=0)


def gnu_long_name(name, content):
    return block(b"././@LongLink", b"L", len(name) + 1) + padded(name + b"\0") + entry(name[:99], content=content)


def pax_sparse(name, size, offset, content):
    """Returns a file of PAX sparse 1.0. Its map is decimal lines in the first blocks of content."""
    chart = padded(b"1\n%d\n%d\n" % (offset, len(content)))
    keys = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", name), (b"GNU.sparse.realsize", b"%d" % size)]
    return entry(b"GNUSparseFile.0/" + name, content=chart + content, pax=keys)


def tar(*entries):
    return b"".join(entries) + b"\0" * 1024
