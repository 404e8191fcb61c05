//! POSIX ACLs: the form of the system calls, and that of the disk.

use crate::units::as_chunks;

/// Version of the system calls' form (`POSIX_ACL_XATTR_VERSION`).
const VERSION: u32 = 2;
/// Version of the disk's form (`EXT4_ACL_VERSION`).
const DISK_VERSION: u32 = 1;
/// The identifier of an entry that names nobody (`ACL_UNDEFINED_ID`).
const UNDEFINED_ID: u32 = u32::MAX;

/// Entries of an ACL of the system calls' form (version 2, entries of 8 bytes:
/// `posix_acl_xattr_entry`), each with its permissions.
///
/// A value that the kernel would refuse to set (`posix_acl_from_xattr`, `posix_acl_valid`) is an
/// error, which says why. So is an ACL without entries, by which the kernel removes what there is.
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
    let mut expected = Expected::Owner;
    let mut needs_mask = false;
    for &[tag_low, tag_high, permissions_low, permissions_high, ref id @ ..] in entries {
        let permissions = u16::from_le_bytes([permissions_low, permissions_high]);
        if permissions > 0o7 {
            return Err("it gives permissions that do not exist");
        }
        let tag = AclTag::new(u16::from_le_bytes([tag_low, tag_high]), u32::from_le_bytes(*id));
        let tag = tag.ok_or("an entry is of an unknown kind")?;
        expected = expected.after(tag, needs_mask)?;
        if let Some(id) = tag.id() {
            if id == UNDEFINED_ID {
                return Err("it names no user or group");
            }
            needs_mask = true;
        }
        decoded.push((tag, permissions));
    }
    match expected {
        Expected::Nothing => Ok(decoded),
        _ => Err("an entry is missing that every ACL has"),
    }
}

/// An ACL of these entries, in the form of the system calls.
pub(crate) fn encode(entries: impl Iterator<Item = (AclTag, u16)>) -> Vec<u8> {
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, permissions) in entries {
        value.extend(tag.code().to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(tag.id().unwrap_or(UNDEFINED_ID).to_le_bytes());
    }
    value
}

/// An ACL of the system calls' form in that of the disk (version 1, an identifier only where there
/// is one to name: `ext4_acl_entry`), with the errors of [`decode`].
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

/// An ACL of the disk's form in that of the system calls (`ext4_acl_from_disk`,
/// `posix_acl_to_xattr`); none if its version or its length cannot be.
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

/// Subject of an entry of an ACL: its tag (`e_tag`), with the user or group that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AclTag {
    /// The owner of the file.
    Owner,
    /// The user of an identifier.
    User(u32),
    /// The group of the file.
    OwningGroup,
    /// The group of an identifier.
    Group(u32),
    /// The limit on what named users and all groups can do.
    Mask,
    /// All others.
    Other,
}

impl AclTag {
    /// The tag of a number, with the identifier that it may need.
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

    /// The identifier of the user or group that the entry names.
    fn id(self) -> Option<u32> {
        match self {
            Self::User(id) | Self::Group(id) => Some(id),
            _ => None,
        }
    }
}

/// What may come next.
enum Expected {
    Owner,
    UserOrOwningGroup,
    GroupOrMaskOrOther,
    Other,
    Nothing,
}

impl Expected {
    /// Named users and groups need a mask.
    fn after(self, tag: AclTag, needs_mask: bool) -> Result<Self, &'static str> {
        Ok(match (self, tag) {
            (Self::Owner, AclTag::Owner) | (Self::UserOrOwningGroup, AclTag::User(_)) => Self::UserOrOwningGroup,
            (Self::UserOrOwningGroup, AclTag::OwningGroup) | (Self::GroupOrMaskOrOther, AclTag::Group(_)) => {
                Self::GroupOrMaskOrOther
            }
            (Self::GroupOrMaskOrOther, AclTag::Mask) => Self::Other,
            (Self::GroupOrMaskOrOther, AclTag::Other) if needs_mask => return Err("it has no mask"),
            (Self::GroupOrMaskOrOther | Self::Other, AclTag::Other) => Self::Nothing,
            _ => return Err("its entries are out of order, or there twice"),
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
    fn what_the_kernel_takes_is_put_into_the_form_of_the_disk() {
        let minimal = to_disk(&acl(&[(1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)])).unwrap();
        assert_eq!(*minimal, *b"\x01\0\0\0\x01\0\x06\0\x04\0\x04\0\x20\0\0\0");
        // Whom an entry is about that names nobody does not matter, nor does a name that is there twice.
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
    fn an_acl_comes_back_from_the_disk_but_for_identifiers_that_name_nobody() {
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
    fn what_the_kernel_refuses_is_refused() {
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
