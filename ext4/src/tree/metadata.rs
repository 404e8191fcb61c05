//! [`Metadata`] of an inode: mode, owner, times and extended attributes.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{MAX_NAME_LEN, TreeError};

/// A point in time that an inode can store: nanoseconds from 1901-12-13 to 2446-05-10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Timestamp {
    /// The earliest time: 1901-12-13 20:45:52 UTC.
    pub const MIN: Self = Self {
        seconds: -(1 << 31),
        nanoseconds: 0,
    };
    /// The latest time: 2446-05-10 22:38:55.999999999 UTC.
    pub const MAX: Self = Self {
        seconds: (3 << 32) + (1 << 31) - 1,
        nanoseconds: 999_999_999,
    };

    /// Creates a time from seconds since 1970 and nanoseconds after them.
    ///
    /// Nanoseconds are capped at 999,999,999. A time outside of the range becomes
    /// [`Timestamp::MIN`] or [`Timestamp::MAX`], as when the kernel sets a time.
    #[must_use]
    pub fn saturating(seconds: i64, nanoseconds: u32) -> Self {
        let nanoseconds = nanoseconds.min(999_999_999);
        Self { seconds, nanoseconds }.clamp(Self::MIN, Self::MAX)
    }

    /// Returns the seconds since 1970, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Returns the nanoseconds after the second, 0 to 999,999,999.
    #[must_use]
    pub fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

impl From<SystemTime> for Timestamp {
    /// A time outside of the range becomes [`Timestamp::MIN`] or [`Timestamp::MAX`].
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => {
                let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
                Self::saturating(seconds, after.subsec_nanos())
            }
            Err(error) => {
                let before = error.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
                match before.subsec_nanos() {
                    0 => Self::saturating(seconds, 0),
                    nanoseconds => Self::saturating(seconds.saturating_sub(1), 1_000_000_000 - nanoseconds),
                }
            }
        }
    }
}

/// Metadata of an inode: everything except its kind and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission, setuid, setgid and sticky bits. Other bits are ignored.
    pub mode: u16,
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Time of the last access (`atime`).
    pub accessed: Timestamp,
    /// Time of the last change of the content (`mtime`), also written as the time of creation.
    pub modified: Timestamp,
    /// Time of the last change of the inode (`ctime`).
    pub changed: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// Returns metadata of root, at the epoch, without extended attributes.
    #[must_use]
    pub fn new(mode: u16) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }
}

/// Extended attributes by their full names, such as `user.note` or `security.capability`.
///
/// POSIX ACLs (`system.posix_acl_access`, `system.posix_acl_default`) have the format of the
/// `getxattr` system call, which [`Acl::encode`](crate::Acl::encode) produces. A name outside of
/// the namespaces of Linux is stored if it fits in the inode; Linux does not list it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xattrs(BTreeMap<Box<[u8]>, Box<[u8]>>);

impl Xattrs {
    /// Sets an attribute, replacing an earlier value.
    ///
    /// # Errors
    ///
    /// [`TreeError::InvalidXattrName`] for a name of 0 or more than 255 bytes, or with a NUL.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), TreeError> {
        if name.is_empty() || name.len() > MAX_NAME_LEN || name.contains(&0) {
            return Err(TreeError::InvalidXattrName { name: name.to_vec() });
        }
        self.0.insert(name.into(), value.into());
        Ok(())
    }

    /// Returns the value of an attribute.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(|value| &**value)
    }

    /// Removes an attribute. Returns whether it existed.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.0.remove(name).is_some()
    }

    /// Iterates over names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
