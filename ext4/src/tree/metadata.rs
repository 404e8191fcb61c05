//! Metadata of an inode: mode, owner, times and extended attributes.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{MAX_NAME_LEN, TreeError};

/// A point in time that an inode can hold: nanoseconds from 1901-12-13 to 2446-05-10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Timestamp {
    /// The earliest: 1901-12-13 20:45:52 UTC.
    pub const MIN: Self = Self {
        seconds: -(1 << 31),
        nanoseconds: 0,
    };
    /// The latest: 2446-05-10 22:38:55.999999999 UTC.
    pub const MAX: Self = Self {
        seconds: (3 << 32) + (1 << 31) - 1,
        nanoseconds: 999_999_999,
    };

    /// Seconds since 1970 and nanoseconds after them (0 to 999,999,999; what exceeds that is cut
    /// off), moved to [`Timestamp::MIN`] or [`Timestamp::MAX`] if it lies outside, as the kernel
    /// does when a time is set.
    #[must_use]
    pub fn saturating(seconds: i64, nanoseconds: u32) -> Self {
        let nanoseconds = nanoseconds.min(999_999_999);
        Self { seconds, nanoseconds }.clamp(Self::MIN, Self::MAX)
    }

    /// Seconds since 1970, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after the second, 0 to 999,999,999.
    #[must_use]
    pub fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

impl From<SystemTime> for Timestamp {
    /// Moves a time outside of the range to [`Timestamp::MIN`] or [`Timestamp::MAX`].
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

/// All that an inode says of itself besides its kind and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission, setuid, setgid and sticky bits; others are ignored.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last access (`atime`).
    pub accessed: Timestamp,
    /// Last change of the content (`mtime`); also written as the time of creation.
    pub modified: Timestamp,
    /// Last change of the inode (`ctime`).
    pub changed: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// Metadata of root's, at the epoch, without extended attributes.
    #[must_use]
    pub fn new(mode: u16) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }
}

/// Extended attributes by their whole name, such as `user.note` or `security.capability`.
///
/// POSIX ACLs (`system.posix_acl_access`, `system.posix_acl_default`) have the form that the
/// `getxattr` system call shows, and that [`Acl::encode`](crate::Acl::encode) returns. A name
/// outside the namespaces of Linux is stored as it is, if the inode has room; Linux does not show
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xattrs(BTreeMap<Box<[u8]>, Box<[u8]>>);

impl Xattrs {
    /// Sets an attribute, replacing an earlier value.
    ///
    /// # Errors
    ///
    /// [`TreeError::InvalidXattrName`] for a name of 0 or more than 255 bytes, or one with a NUL.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), TreeError> {
        if name.is_empty() || name.len() > MAX_NAME_LEN || name.contains(&0) {
            return Err(TreeError::InvalidXattrName { name: name.to_vec() });
        }
        self.0.insert(name.into(), value.into());
        Ok(())
    }

    /// Value of an attribute.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(|value| &**value)
    }

    /// Removes an attribute and says whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.0.remove(name).is_some()
    }

    /// Names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
