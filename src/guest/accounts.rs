//! Resolves the config's `User` with the image's /etc/passwd and /etc/group.
//!
//! The rules are those of Docker, containerd and runc (`GetExecUser` of moby/sys/user), with one
//! exception: a line with an invalid number is skipped, where they take the number for 0, which is
//! root.

use super::error::GuestError;

/// Largest uid or gid that a config may name (`maxID` of moby/sys/user).
const MAX_ID: u32 = i32::MAX.cast_unsigned();

/// Largest uid or gid of Linux. The next number means "unchanged" (setuid(2)).
const MAX_KERNEL_ID: u32 = u32::MAX - 1;
/// Largest number of groups of a process (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// User and groups of a process, and the user's home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvedUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// All groups, each once. The first is `gid`.
    pub(super) groups: Vec<u32>,
    /// Home directory of the user. `/` if the image does not define the user.
    pub(super) home: Vec<u8>,
}

/// A line of passwd(5).
struct PasswdEntry<'a> {
    name: &'a [u8],
    id: u32,
    group: u32,
    home: &'a [u8],
}

/// A line of group(5).
struct GroupEntry<'a> {
    name: &'a [u8],
    id: u32,
    members: &'a [u8],
}

/// Resolves a user of the form `user` or `uid`, with an optional `:group` or `:gid`. Empty means
/// root.
///
/// Without a group, the user gets the group of the passwd entry, and all groups that list the
/// user's name as a member.
pub(super) fn resolve_user(user: &str, passwd: &[u8], group: &[u8]) -> Result<ResolvedUser, GuestError> {
    let mut parts = user.split(':');
    let (user_part, group_part) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let known = if user_part.is_empty() {
        passwd_entries(passwd).find(|known| known.id == 0)
    } else {
        let number = parse_number(user_part);
        passwd_entries(passwd).find(|known| known.name == user_part.as_bytes() || Some(known.id) == number)
    };
    let (user_id, mut group_id) = match &known {
        Some(known) => (known.id, known.group),
        None if user_part.is_empty() => (0, 0),
        None => match parse_number(user_part) {
            Some(id) if id <= MAX_ID => (id, 0),
            Some(_) => return Err(too_large(user, MAX_ID)),
            None if is_number(user_part) => return Err(too_large(user, MAX_ID)),
            None => {
                return Err(GuestError::UnknownUser {
                    name: user_part.to_owned(),
                });
            }
        },
    };
    let mut groups = Vec::new();
    if !group_part.is_empty() {
        let number = parse_number(group_part);
        group_id =
            match group_entries(group).find(|known| known.name == group_part.as_bytes() || Some(known.id) == number) {
                Some(known) => known.id,
                None => match number {
                    Some(id) if id <= MAX_ID => id,
                    Some(_) => return Err(too_large(user, MAX_ID)),
                    None if is_number(group_part) => return Err(too_large(user, MAX_ID)),
                    None => {
                        return Err(GuestError::UnknownGroup {
                            name: group_part.to_owned(),
                        });
                    }
                },
            };
    } else if let Some(known) = &known {
        groups.extend(
            group_entries(group)
                .filter(|group| group.has_member(known.name))
                .map(|group| group.id),
        );
    }
    // containerd and Docker add the first group too, so that a process cannot gain rights by
    // leaving it (CVE-2022-36109).
    groups.insert(0, group_id);
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|&group| seen.insert(group));
    if user_id > MAX_KERNEL_ID || groups.iter().any(|&group| group > MAX_KERNEL_ID) {
        return Err(too_large(user, MAX_KERNEL_ID));
    }
    if groups.len() > MAX_GROUPS {
        return Err(GuestError::TooManyGroups {
            user: user.to_owned(),
            count: groups.len(),
            max: MAX_GROUPS,
        });
    }
    let home = passwd_entries(passwd)
        .find(|known| known.id == user_id)
        .map(|known| known.home);
    Ok(ResolvedUser {
        uid: user_id,
        gid: group_id,
        groups,
        home: home.filter(|home| !home.is_empty()).unwrap_or(b"/").to_vec(),
    })
}

fn too_large(user: &str, max: u32) -> GuestError {
    GuestError::IdTooLarge {
        user: user.to_owned(),
        max,
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_number(text: &str) -> Option<u32> {
    is_number(text).then(|| text.parse().ok())?
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii)
}

/// Iterates over the valid lines of a passwd(5) file.
fn passwd_entries(passwd: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(passwd).filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let mut field = |skipped| fields.nth(skipped);
        Some(PasswdEntry {
            name,
            id: parse_id(field(1)?)?,
            group: parse_id(field(0)?)?,
            home: field(1).unwrap_or_default(),
        })
    })
}

/// Iterates over the valid lines of a group(5) file.
fn group_entries(group: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        Some(GroupEntry {
            name: fields.next()?,
            id: parse_id(fields.nth(1)?)?,
            members: fields.next().unwrap_or_default(),
        })
    })
}

fn parse_id(field: &[u8]) -> Option<u32> {
    parse_number(str::from_utf8(field).ok().filter(|field| !field.is_empty())?)
}

impl GroupEntry<'_> {
    fn has_member(&self, name: &[u8]) -> bool {
        !name.is_empty() && self.members.split(|&byte| byte == b',').any(|member| member == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n\
        broken:x:none:0::/:\n\
        +::::::\n\
        ana:x:1000:1001:Ana:/home/ana:/bin/sh\n\
        ana:x:5:5::/second:\n\
        short:x:7:7\n\
        b\xe9b:x:1002:1002::/home/b\xe9b:\n\
        1004:x:2000:2000::/home/number:\n";
    const GROUP: &[u8] = b"root:x:0:\nadm:x:4:root,ana\nana:x:1001:\naudio:x:29:ana,bob\nvideo:x:44:anastasia\n\
        twice:x:29:ana\nlarge:x:4294967296:ana\nbin:x:1:root\n";

    fn resolved(user: &str) -> (u32, u32, Vec<u32>, String) {
        let resolved = resolve_user(user, PASSWD, GROUP).unwrap();
        let home = String::from_utf8_lossy(&resolved.home).into_owned();
        (resolved.uid, resolved.gid, resolved.groups, home)
    }

    #[test]
    fn users_are_resolved_as_in_container_engines() {
        for (user, id, group, groups, home) in [
            ("", 0, 0, &[0, 4, 1][..], "/root"),
            ("root", 0, 0, &[0, 4, 1], "/root"),
            ("0", 0, 0, &[0, 4, 1], "/root"),
            ("ana", 1000, 1001, &[1001, 4, 29], "/home/ana"),
            ("1000", 1000, 1001, &[1001, 4, 29], "/home/ana"),
            ("ana:audio", 1000, 29, &[29], "/home/ana"),
            ("ana:44", 1000, 44, &[44], "/home/ana"),
            ("ana:5000", 1000, 5000, &[5000], "/home/ana"),
            ("ana:", 1000, 1001, &[1001, 4, 29], "/home/ana"),
            (":audio", 0, 29, &[29], "/root"),
            ("5", 5, 5, &[5, 4, 29], "/second"),
            ("4242", 4242, 0, &[0], "/"),
            ("4242:4243", 4242, 4243, &[4243], "/"),
            ("short", 7, 7, &[7], "/"),
            ("1004", 2000, 2000, &[2000], "/home/number"),
            ("2147483647", 2_147_483_647, 0, &[0], "/"),
        ] {
            assert_eq!(
                resolved(user),
                (id, group, groups.to_vec(), home.to_owned()),
                "{user:?}"
            );
        }
    }

    #[test]
    fn numbers_need_no_passwd_or_group_file() {
        let nobody = resolve_user("65534:65533", b"", b"").unwrap();
        assert_eq!((nobody.uid, nobody.gid, nobody.groups), (65534, 65533, vec![65533]));
        assert_eq!(resolve_user("", b"", b"").unwrap().uid, 0);
    }

    #[test]
    fn unknown_users_and_groups_are_errors() {
        let error = |user: &str| resolve_user(user, PASSWD, GROUP).unwrap_err();
        assert!(matches!(error("eve"), GuestError::UnknownUser { name } if name == "eve"));
        assert!(matches!(error("broken"), GuestError::UnknownUser { .. }));
        assert!(matches!(error("+"), GuestError::UnknownUser { .. }));
        assert!(matches!(error("-1"), GuestError::UnknownUser { .. }));
        assert!(matches!(error("ana:eve"), GuestError::UnknownGroup { name } if name == "eve"));
        assert!(matches!(error("ana:large"), GuestError::UnknownGroup { .. }));
        for (user, passwd, group) in [
            ("ana", "ana:x:4294967295:0::/:\n", ""),
            ("ana", "ana:x:0:4294967295::/:\n", ""),
            ("ana", "ana:x:0:0::/:\n", "all:x:4294967295:ana\n"),
        ] {
            let error = resolve_user(user, passwd.as_bytes(), group.as_bytes()).unwrap_err();
            assert!(
                matches!(error, GuestError::IdTooLarge { max: MAX_KERNEL_ID, .. }),
                "{error}"
            );
        }
        for user in ["2147483648", "99999999999", "ana:2147483648", "1:99999999999"] {
            assert!(matches!(error(user), GuestError::IdTooLarge { .. }), "{user}");
        }
    }

    #[test]
    fn more_groups_than_a_process_can_have_are_an_error() {
        let of = |count: u32| {
            let lines: Vec<_> = (1..=count).map(|id| format!("g{id}:x:{id}:ana")).collect();
            resolve_user("ana", b"ana:x:1:0::/:\n", lines.join("\n").as_bytes())
        };
        assert_eq!(of(65_535).unwrap().groups.len(), 65_536);
        let error = of(65_536).unwrap_err();
        assert!(
            matches!(error, GuestError::TooManyGroups { count: 65_537, .. }),
            "{error}"
        );
    }
}
