use std::fs as std_fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

const NOBODY: u32 = 65534;

fn set_mode(path: &Path, mode: u32) {
    std_fs::set_permissions(path, std_fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives a file or symlink to another user, and returns whether this user can, who may be that
/// user.
fn chown_to_nobody(path: &Path) -> bool {
    rustix::process::geteuid().is_root() && std::os::unix::fs::lchown(path, Some(NOBODY), None).is_ok()
}

fn refusal<T>(result: io::Result<T>) -> Untrusted {
    let error = result.map(drop).unwrap_err();
    Untrusted::from_error(&error)
        .unwrap_or_else(|| panic!("{error}"))
        .clone()
}

#[test]
fn private_directories_are_made_for_this_user_alone() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("one/two");
    let directory = Directory::open_private(&path).unwrap();
    directory.private_subdirectory("three", true).unwrap();
    for path in [&path, &home.path().join("one"), &path.join("three")] {
        assert_eq!(std_fs::metadata(path).unwrap().mode() & 0o7777, 0o700);
    }
    assert!(Directory::find_private(&home.path().join("none")).unwrap().is_none());
    let missing = directory.private_subdirectory("none", false).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert_eq!(
        directory.create_private_subdirectory("three").unwrap_err().kind(),
        io::ErrorKind::AlreadyExists
    );
}

#[test]
fn a_directory_that_others_can_change_is_refused_with_its_mode() {
    let home = TempDir::new().unwrap();
    let directory = Directory::open(home.path()).unwrap();
    let path = home.path().join("state");
    std_fs::create_dir(&path).unwrap();
    let owner = std_fs::metadata(&path).unwrap().uid();
    for mode in [0o770, 0o702, 0o1777] {
        set_mode(&path, mode);
        let expected = Untrusted::Writable { owner, mode };
        assert_eq!(refusal(Directory::open_private(&path)), expected);
        assert_eq!(refusal(directory.private_subdirectory("state", true)), expected);
    }
    set_mode(&path, 0o755);
    Directory::open_private(&path).unwrap();
    if chown_to_nobody(&path) {
        let refusal = refusal(Directory::open_private(&path));
        assert_eq!(
            refusal.to_string(),
            "it belongs to user 65534 (mode 0755), not to user 0 who runs this"
        );
    }
}

#[test]
fn symlinks_in_a_directory_are_not_followed() {
    let home = TempDir::new().unwrap();
    let directory = Directory::open(home.path()).unwrap();
    std_fs::create_dir(home.path().join("real")).unwrap();
    std_fs::write(home.path().join("file"), "kept").unwrap();
    for target in ["real", "file", "none"] {
        let link = home.path().join("link");
        symlink(target, &link).unwrap();
        assert_eq!(
            refusal(directory.private_subdirectory("link", true)),
            Untrusted::Symlink,
            "{target}"
        );
        for access in [Access::Read, Access::Create] {
            assert_eq!(refusal(directory.open_file("link", access)), Untrusted::Symlink);
        }
        assert_eq!(
            directory.create_new("link", 0o600).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        std_fs::remove_file(link).unwrap();
    }
    assert_eq!(std_fs::read(home.path().join("file")).unwrap(), b"kept");
    assert!(!home.path().join("none").exists());
}

#[test]
fn symlinks_of_this_user_lead_to_a_directory() {
    let home = TempDir::new().unwrap();
    std_fs::create_dir_all(home.path().join("a/b")).unwrap();
    symlink("a/../a", home.path().join("relative")).unwrap();
    symlink(home.path().join("relative/b"), home.path().join("absolute")).unwrap();
    symlink("loop", home.path().join("loop")).unwrap();
    let inode = |path: &Path| std_fs::metadata(path).unwrap().ino();
    for path in ["relative/b", "absolute", "absolute/../b", "./a/b/", "a//b"] {
        let path = home.path().join(path);
        let directory = Directory::open(&path).unwrap();
        assert_eq!(
            fs::fstat(&directory).unwrap().st_ino,
            inode(&path),
            "{}",
            path.display()
        );
    }
    for path in ["loop", "none", "none/x"] {
        Directory::open(&home.path().join(path)).unwrap_err();
    }
    std_fs::write(home.path().join("file"), "").unwrap();
    for path in ["file", "file/x"] {
        let error = Directory::open(&home.path().join(path)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
    Directory::open(Path::new(".")).unwrap();
    Directory::open(Path::new("/")).unwrap();
    Directory::open(Path::new("")).unwrap_err();
}

#[cfg(target_os = "linux")]
#[test]
fn a_symlink_of_another_user_is_not_followed() {
    let home = TempDir::new().unwrap();
    std_fs::create_dir(home.path().join("real")).unwrap();
    let link = home.path().join("link");
    symlink("real", &link).unwrap();
    if !chown_to_nobody(&link) {
        return;
    }
    for path in [&link, &link.join("new")] {
        for open in [Directory::open, Directory::open_private] {
            let expected = Untrusted::Link {
                link: link.clone(),
                owner: NOBODY,
            };
            assert_eq!(refusal(open(path)), expected);
        }
    }
    assert!(!home.path().join("real/new").exists());
}

#[test]
fn files_of_others_fifos_and_directories_are_refused() {
    let home = TempDir::new().unwrap();
    let directory = Directory::open(home.path()).unwrap();
    let both = [Access::Read, Access::Create];
    let path = home.path().join("file");
    std_fs::write(&path, "").unwrap();
    set_mode(&path, 0o644);
    for access in both {
        directory.open_file("file", access).unwrap();
    }
    set_mode(&path, 0o664);
    for access in both {
        let refusal = refusal(directory.open_file("file", access));
        assert!(matches!(refusal, Untrusted::Writable { mode: 0o664, .. }), "{refusal}");
    }
    set_mode(&path, 0o600);
    if chown_to_nobody(&path) {
        for access in both {
            let refusal = refusal(directory.open_file("file", access));
            assert!(matches!(refusal, Untrusted::Owner { owner: NOBODY, .. }), "{refusal}");
        }
    }
    let fifo = std::process::Command::new("mkfifo")
        .arg(home.path().join("fifo"))
        .status();
    assert!(fifo.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(home.path().join("socket")).unwrap();
    for (name, kind) in [("fifo", EntryKind::Fifo), ("socket", EntryKind::Socket)] {
        for access in both {
            assert_eq!(refusal(directory.open_file(name, access)), Untrusted::NotAFile(kind));
        }
    }
    std_fs::create_dir(home.path().join("directory")).unwrap();
    for access in both {
        let error = directory.open_file("directory", access).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }
    drop(directory.open_file("new", Access::Create).unwrap());
    assert_eq!(
        std_fs::metadata(home.path().join("new")).unwrap().mode() & 0o7777,
        0o600
    );
}

#[test]
fn any_regular_file_is_read_where_its_owner_does_not_matter() {
    let home = TempDir::new().unwrap();
    let directory = Directory::open(home.path()).unwrap();
    let path = home.path().join("file");
    std_fs::write(&path, "").unwrap();
    set_mode(&path, 0o666);
    chown_to_nobody(&path);
    directory.open_file("file", Access::ReadAnyOwner).unwrap();
    symlink("file", home.path().join("link")).unwrap();
    assert_eq!(
        refusal(directory.open_file("link", Access::ReadAnyOwner)),
        Untrusted::Symlink
    );
    let missing = directory.open_file("none", Access::Write).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_file_is_found_through_symlinks_of_this_user() {
    let home = TempDir::new().unwrap();
    std_fs::create_dir(home.path().join("real")).unwrap();
    std_fs::write(home.path().join("real/file"), "").unwrap();
    symlink("real/file", home.path().join("link")).unwrap();
    symlink(home.path().join("link"), home.path().join("chain")).unwrap();
    symlink("real/missing", home.path().join("dangling")).unwrap();
    let real = std_fs::canonicalize(home.path().join("real")).unwrap();
    for (path, expected) in [
        ("real/file", "file"),
        ("real/missing", "missing"),
        ("link", "file"),
        ("chain", "file"),
        // If nothing is there, a system without descriptors of symlinks stays with the link.
        #[cfg(target_os = "linux")]
        ("dangling", "missing"),
    ] {
        let (directory, name) = Directory::containing(&home.path().join(path), false).unwrap();
        assert_eq!(std_fs::canonicalize(directory.path()).unwrap(), real, "{path}");
        assert_eq!(name, expected);
    }
    let missing = Directory::containing(&home.path().join("new/file"), false).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    let (directory, _) = Directory::containing(&home.path().join("new/file"), true).unwrap();
    assert_eq!(directory.names().unwrap(), Vec::<OsString>::new());
    assert_eq!(
        std_fs::metadata(home.path().join("new")).unwrap().mode() & 0o7777,
        0o700
    );
    for path in ["/", ".."] {
        Directory::containing(Path::new(path), false).unwrap_err();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_is_not_found_through_a_symlink_of_another_user() {
    let home = TempDir::new().unwrap();
    let (file, link) = (home.path().join("file"), home.path().join("link"));
    std_fs::write(&file, "").unwrap();
    symlink(&file, &link).unwrap();
    if chown_to_nobody(&link) {
        let owner = NOBODY;
        assert_eq!(
            refusal(Directory::containing(&link, true)),
            Untrusted::Link { link, owner }
        );
    }
}

#[test]
fn a_directory_stays_the_same_when_its_path_changes() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("directory");
    std_fs::create_dir(&path).unwrap();
    let directory = Directory::open(&path).unwrap();
    std_fs::rename(&path, home.path().join("moved")).unwrap();
    std_fs::create_dir(&path).unwrap();
    let file = directory.create_new("file", 0o600).unwrap();
    assert!(home.path().join("moved/file").exists());
    assert_eq!(std_fs::read_dir(&path).unwrap().count(), 0);
    assert!(directory.entry_is("file", Identity::of(&file).unwrap()).unwrap());
    directory
        .rename("file", &Directory::open(&path).unwrap(), "other")
        .unwrap();
    assert!(path.join("other").exists());
    assert_eq!(directory.names().unwrap(), Vec::<OsString>::new());
}

#[test]
fn a_name_is_not_a_path() {
    let home = TempDir::new().unwrap();
    let directory = Directory::open(home.path()).unwrap();
    for name in ["", ".", "..", "a/b", "/"] {
        directory.create_new(name, 0o600).unwrap_err();
        directory.create_private_subdirectory(name).unwrap_err();
        directory.remove_directory(name).unwrap_err();
    }
}
