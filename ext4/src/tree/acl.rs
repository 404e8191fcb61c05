//! POSIX ACLs as values of extended attributes.

use std::collections::BTreeMap;

/// A POSIX ACL: permissions of named users and groups, besides those in the mode of an inode.
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
/// assert_eq!(metadata.mode, 0o660, "the mask takes the place of the group");
/// metadata.xattrs.set(Acl::ACCESS, &acl.encode())?;
/// # Ok::<(), ext4::TreeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    owner: u16,
    users: BTreeMap<u32, u16>,
    owning_group: u16,
    groups: BTreeMap<u32, u16>,
    mask: Option<u16>,
    other: u16,
}

impl Acl {
    /// The extended attribute of the ACL that decides on access.
    pub const ACCESS: &[u8] = b"system.posix_acl_access";
    /// The extended attribute of a directory whose ACL new files in it get.
    pub const DEFAULT: &[u8] = b"system.posix_acl_default";

    /// An ACL with the permissions of a mode, for the owner, the group and others.
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

    /// Sets the permissions of a user. The user 4,294,967,295 is none, and makes the ACL invalid.
    pub fn set_user(&mut self, uid: u32, permissions: u16) -> &mut Self {
        self.users.insert(uid, permissions & 0o7);
        self
    }

    /// Sets the permissions of a group. The group 4,294,967,295 is none, and makes the ACL invalid.
    pub fn set_group(&mut self, gid: u32, permissions: u16) -> &mut Self {
        self.groups.insert(gid, permissions & 0o7);
        self
    }

    /// Sets the limit on what named users and all groups can do. Without, it is all that they are
    /// given.
    pub fn set_mask(&mut self, permissions: u16) -> &mut Self {
        self.mask = Some(permissions & 0o7);
        self
    }

    /// Returns a mode with the permissions of this ACL, as the kernel sets it: where there is a
    /// mask, it takes the place of the group.
    #[must_use]
    pub fn mode(&self, mode: u16) -> u16 {
        let group = self.mask().unwrap_or(self.owning_group);
        mode & !0o777 | self.owner << 6 | group << 3 | self.other
    }

    /// Returns the value of [`Acl::ACCESS`] and [`Acl::DEFAULT`], in the form of the system calls.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        const NOBODY: u32 = u32::MAX;
        let mut value = 2_u32.to_le_bytes().to_vec();
        let mut add = |tag: u16, permissions: u16, id: u32| {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        };
        add(0x01, self.owner, NOBODY);
        self.users
            .iter()
            .for_each(|(&uid, &permissions)| add(0x02, permissions, uid));
        add(0x04, self.owning_group, NOBODY);
        self.groups
            .iter()
            .for_each(|(&gid, &permissions)| add(0x08, permissions, gid));
        if let Some(mask) = self.mask() {
            add(0x10, mask, NOBODY);
        }
        add(0x20, self.other, NOBODY);
        value
    }

    /// The mask, which an ACL with named users or groups must have.
    fn mask(&self) -> Option<u16> {
        let named = || self.users.values().chain(self.groups.values());
        let needed = named().next().is_some();
        let all = named().fold(self.owning_group, |all, permissions| all | permissions);
        self.mask.or_else(|| needed.then_some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::acl::to_disk;

    #[test]
    fn acls_of_any_content_are_those_that_the_kernel_takes() {
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
