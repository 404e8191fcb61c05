"""Values of extended attributes, in the form of getxattr(2) and tar."""

import struct

OWNER, USER, GROUP, NAMED_GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NO_ID = 0xFFFFFFFF


def capability(permitted):
    """Returns a value of `security.capability`: VFS_CAP_REVISION_2 with the effective flag."""
    return struct.pack("<5I", 0x02000001, permitted, 0, 0, 0)


def acl(*rules):
    """Returns a `system.posix_acl_*`: version 2, and 8-byte entries of tag, permissions, id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *rule) for rule in rules)
