"""The layers of the sample image: a small root file system, and changes that builders get wrong."""

from decimal import Decimal

from archive import (
    NEW_YEAR, device, directory, entry, gnu_long_name, hard_link, pax_sparse, symlink, tar, whiteout,
)
from program import program
from xattrs import GROUP, MASK, NAMED_GROUP, NO_ID, OTHER, OWNER, USER, acl, capability

SHADOW = b"root:*:20454:0:99999:7:::\n"
STORY = [
    b"1 a root file system\n",
    b"2 changes of every kind\n",
    b"3 links into the layers below\n4 a program for one platform\n",
]


def first_layer():
    """Returns a small root file system. Its `./` entry sets the root's own metadata."""
    return tar(
        directory(b".", time=NEW_YEAR + Decimal("0.123456789")),
        *skeleton(),
        *devices(),
        *configuration(),
        *programs(),
        *documents(),
        *data(),
        *home(),
    )


def skeleton():
    yield from (directory(name) for name in [b"usr", b"usr/bin", b"usr/lib", b"usr/sbin", b"usr/share"])
    yield from (symlink(name, b"usr/" + name) for name in [b"bin", b"lib", b"sbin"])
    yield from (directory(name) for name in [b"dev", b"etc", b"home", b"run", b"srv", b"var"])
    yield from (directory(name, 0o555) for name in [b"proc", b"sys"])
    yield directory(b"root", 0o700)
    yield directory(b"tmp", 0o1777)


def devices():
    yield device(b"dev/null", b"3", 1, 3, 0o666)
    yield device(b"dev/console", b"3", 5, 1, 0o600)
    yield device(b"dev/loop0", b"4", 7, 0, 0o660, owner=(0, 6))
    yield device(b"dev/large", b"3", 4095, 1048575, 0o600)
    yield hard_link(b"dev/nothing", b"dev/null")
    yield entry(b"run/hello.fifo", b"6", mode=0o620, owner=(0, 5))


def configuration():
    greeting = b"\n  Hello! This root file system came out of an OCI image.\n  Look at /usr/share/doc/hello.\n\n"
    yield entry(b"etc/motd", content=greeting)
    yield entry(b"etc/hostname", content=b"hello\n")
    yield entry(b"etc/os-release", content=b'ID=hello\nNAME="Hello"\nPRETTY_NAME="Hello, the sample image"\n')
    yield entry(b"etc/passwd", content=b"root:x:0:0::/root:/bin/hello\nana:x:1000:1000::/home/ana:/bin/hello\n")
    yield entry(b"etc/group", content=b"root:x:0:\nstaff:x:50:ana\nana:x:1000:\n")
    yield entry(b"etc/shadow", content=SHADOW, mode=0o640, owner=(0, 42))
    yield entry(b"etc/issue", content=b"becomes a symlink in the next layer\n")
    yield entry(b"etc/hello.d", content=b"becomes a directory in the next layer\n")


def programs():
    yield entry(b"usr/bin/greet", content=b"#!/bin/sh\necho Hello\n", mode=0o755)
    yield hard_link(b"usr/bin/welcome", b"usr/bin/greet")
    yield hard_link(b"usr/bin/hi", b"./usr/bin/welcome")
    yield entry(b"usr/bin/become", content=b"#!/bin/sh\n# setuid\n", mode=0o4755)
    # CAP_DAC_OVERRIDE and CAP_FOWNER together are the byte 0x0a, a line feed in a PAX record.
    carried = {b"security.capability": capability(1 << 1 | 1 << 3)}
    yield entry(b"usr/bin/carry", content=b"#!/bin/sh\n# with capabilities\n", mode=0o755, xattrs=carried)

    yield entry(b"lib/libhello.so.1.2", content=b"written through the symlink /lib\n")
    yield symlink(b"lib/libhello.so.1", b"libhello.so.1.2")
    yield symlink(b"usr/lib/libhello.so", b"libhello.so.1")
    yield hard_link(b"usr/lib/libhello.so.0", b"usr/lib/libhello.so.1")
    yield symlink(b"usr/lib/inside-the-inode", b"a" * 59)
    yield symlink(b"usr/lib/in-a-block", b"b" * 60)
    yield symlink(b"usr/lib/far-away", b"../" * 40 + b"etc/motd")


def documents():
    yield directory(b"usr/share/doc")
    yield directory(b"usr/share/doc/hello")
    yield entry(b"usr/share/doc/hello/README", content=b"removed by the next layer\n")
    yield entry(b"usr/share/doc/hello/layers", content=STORY[0], time=NEW_YEAR + Decimal("0.5"))
    yield entry(b"usr/share/doc/hello/old", content=b"older than the epoch\n", time=Decimal("-1.5"))
    yield entry(b"usr/share/doc/hello/new", content=b"newer than 32 bits of seconds\n", time=4102444800)
    yield entry(b"usr/share/doc/hello/empty")


def data():
    yield directory(b"var/cache", time=NEW_YEAR + Decimal("0.000000001"))
    yield entry(b"var/cache/stale", content=b"hidden by an opaque marker\n")
    yield directory(b"var/cache/deep")
    yield entry(b"var/cache/deep/stale", content=b"hidden too\n")
    yield directory(b"srv/data")
    yield entry(b"srv/data/lost", content=b"the directory becomes a symlink\n")
    acls = {
        b"system.posix_acl_access": acl(
            (OWNER, 7, NO_ID), (USER, 7, 1000), (GROUP, 5, NO_ID), (MASK, 7, NO_ID), (OTHER, 5, NO_ID)
        ),
        b"system.posix_acl_default": acl(
            (OWNER, 7, NO_ID), (GROUP, 5, NO_ID), (NAMED_GROUP, 4, 50), (MASK, 5, NO_ID), (OTHER, 0, NO_ID)
        ),
    }
    yield directory(b"srv/shared", 0o3775, owner=(0, 50), xattrs=acls)
    # Too large for an inode, and equal, so that both files can share an attribute block.
    large = {b"user.origin": b"the first layer", b"user.story": b"once upon a time " * 60}
    yield entry(b"srv/shared/one", content=b"one\n", xattrs=large)
    yield entry(b"srv/shared/two", content=b"two\n", xattrs=large)


def home():
    ana = {"owner": (1000, 1000)}
    note = {b"user.note": b"kept by the image"}
    yield directory(b"home/ana", 0o750, **ana)
    yield entry(b"home/ana/notes", content=b"This file has a note attached.\n", xattrs=note, **ana)
    yield entry(b"home/ana/caf\xe9", content=b"this name is not UTF-8\n", **ana)
    yield entry("home/ana/日本語".encode(), content=b"this one is\n", **ana)
    yield entry(b"home/ana/" + b"n" * 255, content=b"as long as a name may be\n", **ana)
    yield entry(b"home/ana/stranger", content=b"its owner needs 32 bits\n", owner=(4000000000, 3000000000))


def second_layer():
    """Returns changes of every kind to the first layer."""
    return tar(
        whiteout(b"usr/share/doc/hello/README"),
        entry(b"usr/share/doc/hello/layers", content=b"".join(STORY[:2]), time=NEW_YEAR + Decimal("0.999999999")),
        whiteout(b"usr/bin/greet"),
        entry(b"var/cache/fresh", content=b"written before its directory's opaque marker\n"),
        entry(b"var/cache/.wh..wh..opq", mode=0),
        pax_sparse(b"var/cache/sparse", 1 << 20, 300000, b"an island in a sea of zeros\n"),
        whiteout(b"etc/issue"),
        symlink(b"etc/issue", b"motd"),
        directory(b"etc/hello.d", 0o700),
        entry(b"./etc/./hello.d//greeting", content=b"Hello\n"),
        directory(b"etc/hello.d", 0o755, time=NEW_YEAR + 3600),
        symlink(b"srv/data", b"../var"),
        entry(b"etc/shadow", content=SHADOW, mode=0o600, owner=(0, 42)),
        entry(b"tmp/scratch", content=b"/tmp has no entry of its own in this layer and stays 1777\n"),
    )


def third_layer():
    """Returns links into the lower layers, and a GNU long name."""
    return tar(
        hard_link(b"usr/bin/hello-again", b"usr/bin/welcome"),
        gnu_long_name(b"home/ana/" + b"g" * 120 + b".txt", b"a long name\n"),
        entry(b"usr/share/doc/hello/layers", content=b"".join(STORY)),
    )


def program_layer(architecture):
    """Returns the only layer that the platforms do not share."""
    return tar(
        entry(b"bin/hello", content=program(architecture), mode=0o755),
        symlink(b"sbin/init", b"../bin/hello"),
    )
