//! [`Acl`]: POSIX ACLs as values of extended attributes.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::disk::acl;
pub use crate::disk::acl::AclTag;

/// A POSIX ACL: permissions of named users and groups, in addition to the mode of an inode.
///
/// Permissions are the bits `rwx` of a mode, 0 to 7; higher bits are ignored.
///
/// ```
/// use ext4::{Acl, Metadata};
///
/// let mut metadata = Metadata::new(0o640);
/// let mut acl = Acl::new(metadata.mode);
/// acl.set_user(1000, 0o4).set_group(50, 0o6);
/// metadata.mode = acl.mode(metadata.mode);
/// assert_eq!(metadata.mode, 0o660, "the mask replaces the group");
/// metadata.xattrs.set(Acl::ACCESS, &acl.encode())?;
/// # Ok::<(), ext4::TreeError>(())
/// ```
///
/// [`Acl::decode`] parses an ACL, such as that of a file in an image:
///
/// ```
/// use ext4::read::Follow;
/// use ext4::{Acl, AclTag, Formatter, InodeId, Kind, Metadata, Options, Reader, Tree};
///
/// let mut acl = Acl::new(0o640);
/// acl.set_user(1001, 0o4);
/// let mut metadata = Metadata::new(acl.mode(0o640));
/// metadata.xattrs.set(Acl::ACCESS, &acl.encode())?;
/// let mut tree = Tree::default();
/// tree.insert(InodeId::ROOT, b"fifo", metadata, Kind::Fifo)?;
/// let (image, _) = Formatter::new(Vec::new(), Options::new([7; 16]))?.finish(tree)?;
///
/// let reader = Reader::open(image)?;
/// let fifo = reader.lookup(b"/fifo", Follow::No)?;
/// let xattrs = reader.xattrs(&fifo)?;
/// let acl = Acl::decode(xattrs.get(Acl::ACCESS).ok_or("no ACL")?)?;
/// assert_eq!(acl.to_string(), "user::rw-,user:1001:r--,group::r--,mask::r--,other::---");
/// assert!(acl.entries().any(|entry| entry == (AclTag::User(1001), 0o4)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Two ACLs are equal if their [entries](Acl::entries) are equal, so a computed mask equals one
/// that was set.
#[derive(Clone, Debug)]
pub struct Acl {
    owner: u16,
    users: BTreeMap<u32, u16>,
    owning_group: u16,
    groups: BTreeMap<u32, u16>,
    mask: Option<u16>,
    other: u16,
}

impl Acl {
    /// Extended attribute with the ACL that controls access.
    pub const ACCESS: &[u8] = b"system.posix_acl_access";
    /// Extended attribute of a directory with the ACL that new files in it inherit.
    pub const DEFAULT: &[u8] = b"system.posix_acl_default";

    /// Creates an ACL with the permissions of a mode, for the owner, the group and others.
    #[must_use]
    pub fn new(mode: u16) -> Self {
        Self {
            owner: mode >> 6 & 0o7,
            users: BTreeMap::new(),
            owning_group: mode >> 3 & 0o7,
            groups: BTreeMap::new(),
            mask: None,
            other: mode & 0o7,
        }
    }

    /// Sets the permissions of a user. The user ID 4,294,967,295 is reserved, and makes the ACL
    /// invalid.
    pub fn set_user(&mut self, uid: u32, permissions: u16) -> &mut Self {
        self.users.insert(uid, permissions & 0o7);
        self
    }

    /// Sets the permissions of a group. The group ID 4,294,967,295 is reserved, and makes the ACL
    /// invalid.
    pub fn set_group(&mut self, gid: u32, permissions: u16) -> &mut Self {
        self.groups.insert(gid, permissions & 0o7);
        self
    }

    /// Sets the mask, which limits the permissions of named users and of all groups. By default,
    /// it is the union of their permissions.
    pub fn set_mask(&mut self, permissions: u16) -> &mut Self {
        self.mask = Some(permissions & 0o7);
        self
    }

    /// Returns `mode` with the permissions of this ACL, as the kernel sets it: a mask replaces the
    /// permissions of the group.
    #[must_use]
    pub fn mode(&self, mode: u16) -> u16 {
        let group = self.mask().unwrap_or(self.owning_group);
        mode & !0o777 | self.owner << 6 | group << 3 | self.other
    }

    /// Parses a value of [`Acl::ACCESS`] or [`Acl::DEFAULT`], in the format of the system calls.
    ///
    /// # Errors
    ///
    /// [`AclError`] if the kernel refuses to set the value, if the ACL has no entries, with which
    /// the kernel removes the ACL, and if a user or group occurs twice, which the kernel accepts
    /// and `acl_check` of libacl does not.
    pub fn decode(value: &[u8]) -> Result<Self, AclError> {
        let mut acl = Self::new(0);
        for (tag, permissions) in acl::decode(value).map_err(|reason| AclError { reason })? {
            let replaced = match tag {
                AclTag::User(uid) => acl.users.insert(uid, permissions),
                AclTag::Group(gid) => acl.groups.insert(gid, permissions),
                AclTag::Mask => acl.mask.replace(permissions),
                AclTag::Owner => {
                    acl.owner = permissions;
                    None
                }
                AclTag::OwningGroup => {
                    acl.owning_group = permissions;
                    None
                }
                AclTag::Other => {
                    acl.other = permissions;
                    None
                }
            };
            if replaced.is_some() {
                let reason = "it names a user or group twice";
                return Err(AclError { reason });
            }
        }
        Ok(acl)
    }

    /// Iterates over all entries with their permissions (the bits `rwx` of a mode), including the
    /// mask if the ACL has one, ordered by tag and identifier.
    pub fn entries(&self) -> impl Iterator<Item = (AclTag, u16)> {
        let users = self
            .users
            .iter()
            .map(|(&uid, &permissions)| (AclTag::User(uid), permissions));
        let groups = self
            .groups
            .iter()
            .map(|(&gid, &permissions)| (AclTag::Group(gid), permissions));
        [(AclTag::Owner, self.owner)]
            .into_iter()
            .chain(users)
            .chain([(AclTag::OwningGroup, self.owning_group)])
            .chain(groups)
            .chain(self.mask().map(|mask| (AclTag::Mask, mask)))
            .chain([(AclTag::Other, self.other)])
    }

    /// Returns the value of [`Acl::ACCESS`] or [`Acl::DEFAULT`], in the format of the system
    /// calls.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        acl::encode(self.entries())
    }

    /// The mask, which an ACL with named users or groups must have.
    fn mask(&self) -> Option<u16> {
        let named = || self.users.values().chain(self.groups.values());
        let needed = named().next().is_some();
        let all = named().fold(self.owning_group, |all, permissions| all | permissions);
        self.mask.or_else(|| needed.then_some(all))
    }
}

impl PartialEq for Acl {
    fn eq(&self, other: &Self) -> bool {
        self.entries().eq(other.entries())
    }
}

impl Eq for Acl {}

/// Prints the short form of getfacl(1): `user::rw-,user:1001:r--,group::r--,mask::r--,other::---`.
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (tag, permissions)) in self.entries().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match tag {
                AclTag::Owner => f.write_str("user:")?,
                AclTag::User(uid) => write!(f, "user:{uid}")?,
                AclTag::OwningGroup => f.write_str("group:")?,
                AclTag::Group(gid) => write!(f, "group:{gid}")?,
                AclTag::Mask => f.write_str("mask:")?,
                AclTag::Other => f.write_str("other:")?,
            }
            f.write_str(":")?;
            for (bit, letter) in [(0o4, "r"), (0o2, "w"), (0o1, "x")] {
                f.write_str(if permissions & bit == 0 { "-" } else { letter })?;
            }
        }
        Ok(())
    }
}

/// A value of an extended attribute is not a POSIX ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclError {
    reason: &'static str,
}

impl fmt::Display for AclError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a POSIX ACL: {}", self.reason)
    }
}

impl Error for AclError {}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::disk::acl::to_disk;

    /// Any valid ACL.
    fn acls() -> impl Strategy<Value = Acl> {
        let named = || btree_map(0..u32::MAX, 0..8_u16, 0..4);
        (any::<u16>(), named(), named(), option::of(0..8_u16)).prop_map(|(mode, users, groups, mask)| Acl {
            users,
            groups,
            mask,
            ..Acl::new(mode)
        })
    }

    proptest! {
        #[test]
        fn encoded_acls_are_decoded(acl in acls()) {
            let decoded = Acl::decode(&acl.encode());
            prop_assert_eq!(decoded.as_ref(), Ok(&acl));
            prop_assert_eq!(decoded.map(|decoded| decoded.to_string()), Ok(acl.to_string()));
            prop_assert_eq!(to_disk(&acl.encode()).map(|disk| acl::from_disk(&disk)), Ok(Some(acl.encode())));
        }

        #[test]
        fn decode_accepts_what_the_disk_format_accepts(value in prop::collection::vec(any::<u8>(), 0..60), acl in acls(), at in any::<usize>()) {
            let mut damaged = acl.encode();
            let at = at % damaged.len();
            damaged[at] ^= 1 << (at % 8);
            for value in [value, damaged] {
                match (Acl::decode(&value), to_disk(&value)) {
                    (Ok(_), Ok(_)) => {}
                    (Err(error), Err(reason)) => prop_assert!(error.to_string().ends_with(reason)),
                    (decoded, disk) => {
                        prop_assert!(disk.is_ok());
                        prop_assert!(decoded.unwrap_err().to_string().ends_with("twice"));
                    }
                }
            }
        }
    }

    #[test]
    fn acls_are_shown_as_getfacl_shows_them() {
        let mut acl = Acl::new(0o640);
        assert_eq!(acl.to_string(), "user::rw-,group::r--,other::---");
        acl.set_user(1001, 0o4);
        assert_eq!(
            acl.to_string(),
            "user::rw-,user:1001:r--,group::r--,mask::r--,other::---"
        );
        acl.set_group(50, 0o7).set_user(5, 0o1).set_mask(0o5);
        assert_eq!(
            acl.to_string(),
            "user::rw-,user:5:--x,user:1001:r--,group::r--,group:50:rwx,mask::r-x,other::---"
        );
    }

    #[test]
    fn a_user_or_group_named_twice_is_refused() {
        for tag in [AclTag::User(5), AclTag::Group(5)] {
            let mut entries = vec![
                (AclTag::Owner, 6),
                (AclTag::OwningGroup, 4),
                (AclTag::Mask, 4),
                (AclTag::Other, 0),
            ];
            let at = if tag == AclTag::User(5) { 1 } else { 2 };
            entries.splice(at..at, [(tag, 4), (tag, 6)]);
            let value = acl::encode(entries.into_iter());
            assert!(to_disk(&value).is_ok(), "the kernel takes it");
            let error = Acl::decode(&value).unwrap_err();
            assert!(error.to_string().contains("twice"), "{error}");
        }
    }

    #[test]
    fn modes_and_lengths_are_those_of_the_kernel() {
        let mut named = Acl::new(0o4751);
        named.set_group(50, 0o2).set_user(1000, 0o4).set_user(5, 0o17);
        let mut masked = named.clone();
        masked.set_mask(0o1);
        for (acl, mode, len) in [(Acl::new(0o750), 0o4750, 16), (named, 0o4771, 44), (masked, 0o4711, 44)] {
            assert_eq!(acl.mode(0o4000), mode, "{acl:?}");
            assert_eq!(to_disk(&acl.encode()).map(|disk| disk.len()), Ok(len), "{acl:?}");
        }
    }
}
