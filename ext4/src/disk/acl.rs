//! POSIX ACLs: the form that system calls take and return, and the form on the disk.

use crate::units::as_chunks;

/// Version of the form of system calls (`POSIX_ACL_XATTR_VERSION`).
const VERSION: u32 = 2;
/// Version of the form on the disk (`EXT4_ACL_VERSION`).
const DISK_VERSION: u32 = 1;
/// Identifier in an entry for neither a named user nor a named group (`ACL_UNDEFINED_ID`).
const UNDEFINED_ID: u32 = u32::MAX;

/// Decodes an ACL in the form of system calls (version 2, entries of 8 bytes:
/// `posix_acl_xattr_entry`). Returns its entries with their permissions.
///
/// Returns an error for a value that the kernel refuses to set (`posix_acl_from_xattr`,
/// `posix_acl_valid`), and for an ACL without entries, by which the kernel removes an ACL. The
/// error is the reason.
pub(crate) fn decode(value: &[u8]) -> Result<Vec<(AclTag, u16)>, &'static str> {
    let (version, entries) = value.split_first_chunk::<4>().ok_or("it has no version")?;
    if u32::from_le_bytes(*version) != VERSION {
        return Err("its version is not 2");
    }
    let (entries, rest) = as_chunks::<8>(entries);
    if !rest.is_empty() {
        return Err("its last entry is cut off");
    }
    let mut decoded = Vec::with_capacity(entries.len());
    let mut expected = NextEntry::Owner;
    let mut needs_mask = false;
    for &[tag_low, tag_high, permissions_low, permissions_high, ref id @ ..] in entries {
        let permissions = u16::from_le_bytes([permissions_low, permissions_high]);
        if permissions > 0o7 {
            return Err("it has unknown permissions");
        }
        let tag = AclTag::new(u16::from_le_bytes([tag_low, tag_high]), u32::from_le_bytes(*id));
        let tag = tag.ok_or("an entry has an unknown tag")?;
        expected = expected.after(tag, needs_mask)?;
        if let Some(id) = tag.id() {
            if id == UNDEFINED_ID {
                return Err("an entry for a named user or group names no one");
            }
            needs_mask = true;
        }
        decoded.push((tag, permissions));
    }
    match expected {
        NextEntry::Nothing => Ok(decoded),
        _ => Err("the entry of the owner, the group or all others is missing"),
    }
}

/// Encodes entries with their permissions in the form of system calls.
pub(crate) fn encode(entries: impl Iterator<Item = (AclTag, u16)>) -> Vec<u8> {
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, permissions) in entries {
        value.extend(tag.code().to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(tag.id().unwrap_or(UNDEFINED_ID).to_le_bytes());
    }
    value
}

/// Converts an ACL from the form of system calls to the form on the disk: version 1, with
/// identifiers only in entries of named users and groups (`ext4_acl_entry`). The errors are those
/// of [`decode`].
pub(crate) fn to_disk(value: &[u8]) -> Result<Box<[u8]>, &'static str> {
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for (tag, permissions) in decode(value)? {
        disk.extend(tag.code().to_le_bytes());
        disk.extend(permissions.to_le_bytes());
        if let Some(id) = tag.id() {
            disk.extend(id.to_le_bytes());
        }
    }
    Ok(disk.into())
}

/// Converts an ACL from the form on the disk to the form of system calls (`ext4_acl_from_disk`,
/// `posix_acl_to_xattr`). Returns `None` if its version or length is invalid.
pub(crate) fn from_disk(disk: &[u8]) -> Option<Vec<u8>> {
    let (version, mut rest) = disk.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != DISK_VERSION {
        return None;
    }
    let mut value = VERSION.to_le_bytes().to_vec();
    while let Some((entry, after)) = rest.split_first_chunk::<4>() {
        value.extend_from_slice(entry);
        rest = after;
        let tag = AclTag::new(u16::from_le_bytes([entry[0], entry[1]]), UNDEFINED_ID);
        if tag.is_some_and(|tag| tag.id().is_some()) {
            let (id, after) = rest.split_first_chunk::<4>()?;
            value.extend_from_slice(id);
            rest = after;
        } else {
            value.extend(UNDEFINED_ID.to_le_bytes());
        }
    }
    rest.is_empty().then_some(value)
}

/// User, group or class that an entry of an ACL is about: its tag (`e_tag`), with the identifier
/// of a named user or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AclTag {
    /// The owner of the file.
    Owner,
    /// The user with this identifier.
    User(u32),
    /// The group of the file.
    OwningGroup,
    /// The group with this identifier.
    Group(u32),
    /// Upper limit on the permissions of named users and of all groups.
    Mask,
    /// All others.
    Other,
}

impl AclTag {
    /// Returns the tag with a number on the disk, with `id` if it names a user or group.
    fn new(code: u16, id: u32) -> Option<Self> {
        Some(match code {
            0x01 => Self::Owner,
            0x02 => Self::User(id),
            0x04 => Self::OwningGroup,
            0x08 => Self::Group(id),
            0x10 => Self::Mask,
            0x20 => Self::Other,
            _ => return None,
        })
    }

    fn code(self) -> u16 {
        match self {
            Self::Owner => 0x01,
            Self::User(_) => 0x02,
            Self::OwningGroup => 0x04,
            Self::Group(_) => 0x08,
            Self::Mask => 0x10,
            Self::Other => 0x20,
        }
    }

    /// Returns the identifier of the user or group that the entry names.
    fn id(self) -> Option<u32> {
        match self {
            Self::User(id) | Self::Group(id) => Some(id),
            _ => None,
        }
    }
}

/// Tags that may come next in an ACL.
enum NextEntry {
    Owner,
    UserOrOwningGroup,
    GroupOrMaskOrOther,
    Other,
    Nothing,
}

impl NextEntry {
    /// Returns the tags that may follow `tag`, or an error if it is out of order. Named users and
    /// groups need a mask.
    fn after(self, tag: AclTag, needs_mask: bool) -> Result<Self, &'static str> {
        Ok(match (self, tag) {
            (Self::Owner, AclTag::Owner) | (Self::UserOrOwningGroup, AclTag::User(_)) => Self::UserOrOwningGroup,
            (Self::UserOrOwningGroup, AclTag::OwningGroup) | (Self::GroupOrMaskOrOther, AclTag::Group(_)) => {
                Self::GroupOrMaskOrOther
            }
            (Self::GroupOrMaskOrOther, AclTag::Mask) => Self::Other,
            (Self::GroupOrMaskOrOther, AclTag::Other) if needs_mask => return Err("it has no mask"),
            (Self::GroupOrMaskOrOther | Self::Other, AclTag::Other) => Self::Nothing,
            _ => return Err("its entries are out of order, or one occurs twice"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: u32 = u32::MAX;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entries = entries.iter().flat_map(|(tag, permissions, id)| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        });
        2u32.to_le_bytes().into_iter().chain(entries).collect()
    }

    #[test]
    fn valid_acls_are_converted_to_the_form_on_the_disk() {
        let minimal = to_disk(&acl(&[(1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)])).unwrap();
        assert_eq!(*minimal, *b"\x01\0\0\0\x01\0\x06\0\x04\0\x04\0\x20\0\0\0");
        // Identifiers are ignored except those of named users and groups. One user may have two
        // entries.
        let named = acl(&[
            (1, 7, 5),
            (2, 5, 0),
            (2, 4, 0),
            (4, 5, 0),
            (8, 0, NONE - 1),
            (0x10, 7, 1),
            (0x20, 0, 2),
        ]);
        let named = to_disk(&named).unwrap();
        assert_eq!(
            *named,
            *b"\x01\0\0\0\x01\0\x07\0\x02\0\x05\0\0\0\0\0\x02\0\x04\0\0\0\0\0\x04\0\x05\0\
                \x08\0\0\0\xfe\xff\xff\xff\x10\0\x07\0\x20\0\0\0"
        );
        to_disk(&acl(&[(1, 6, NONE), (4, 4, NONE), (0x10, 0, NONE), (0x20, 0, NONE)])).unwrap();
    }

    #[test]
    fn acls_round_trip_without_unused_identifiers() {
        let entries = [
            (1, 7, NONE),
            (2, 5, 0),
            (2, 4, 1 << 31),
            (4, 5, NONE),
            (8, 0, NONE - 1),
            (0x10, 7, NONE),
            (0x20, 0, NONE),
        ];
        let disk = to_disk(&acl(&entries)).unwrap();
        assert_eq!(from_disk(&disk), Some(acl(&entries)));
        for len in 0..disk.len() {
            let cut = from_disk(&disk[..len]);
            assert!(cut.is_none_or(|cut| acl(&entries).starts_with(&cut)), "{len} bytes");
        }
        assert_eq!(from_disk(&[&[2], &disk[1..]].concat()), None);
    }

    #[test]
    fn invalid_acls_are_refused() {
        let good = acl(&[(1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)]);
        for (value, reason) in [
            (&b""[..], "no version"),
            (b"\x02\0\0", "no version"),
            (&[b"\x01", &good[1..]].concat(), "version is not 2"),
            (&good[..good.len() - 1], "cut off"),
            (&[&good[..], b"\0"].concat(), "cut off"),
        ] {
            let error = to_disk(value).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        for (entries, reason) in [
            (&[][..], "missing"),
            (&[(1, 6, NONE)], "missing"),
            (&[(1, 6, NONE), (4, 4, NONE)], "missing"),
            (&[(1, 6, NONE), (4, 4, NONE), (0x10, 4, NONE)], "missing"),
            (&[(4, 4, NONE), (0x20, 0, NONE)], "out of order"),
            (&[(1, 6, NONE), (0x20, 0, NONE)], "out of order"),
            (&[(4, 4, NONE), (1, 6, NONE), (0x20, 0, NONE)], "out of order"),
            (&[(1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE), (0x20, 0, NONE)], "twice"),
            (&[(1, 6, NONE), (1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)], "twice"),
            (
                &[(1, 6, NONE), (4, 4, NONE), (2, 4, 5), (0x10, 4, NONE), (0x20, 0, NONE)],
                "out of order",
            ),
            (
                &[(1, 6, NONE), (4, 4, NONE), (0x10, 4, NONE), (8, 4, 5), (0x20, 0, NONE)],
                "out of order",
            ),
            (&[(1, 6, NONE), (2, 4, 5), (4, 4, NONE), (0x20, 0, NONE)], "no mask"),
            (&[(1, 6, NONE), (4, 4, NONE), (8, 4, 5), (0x20, 0, NONE)], "no mask"),
            (
                &[
                    (1, 6, NONE),
                    (2, 4, NONE),
                    (4, 4, NONE),
                    (0x10, 4, NONE),
                    (0x20, 0, NONE),
                ],
                "names no",
            ),
            (&[(1, 8, NONE), (4, 4, NONE), (0x20, 0, NONE)], "permissions"),
            (&[(1, 6, NONE), (3, 4, NONE), (0x20, 0, NONE)], "unknown"),
            (&[(1, 6, NONE), (0x40, 4, NONE), (0x20, 0, NONE)], "unknown"),
        ] {
            let error = to_disk(&acl(entries)).unwrap_err();
            assert!(error.contains(reason), "{entries:?}: {error}");
        }
    }
}
