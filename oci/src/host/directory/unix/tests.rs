use std::fs as std_fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

const NOBODY: u32 = 65534;

fn set_mode(path: &Path, mode: u32) {
    std_fs::set_permissions(path, std_fs::Permissions::from_mode(mode)).unwrap();
}

/// Changes the owner of a file or symlink to [`NOBODY`]. Returns `false` if this user is not root,
/// and so cannot.
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
fn private_directories_are_created_with_mode_0700() {
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
fn directory_that_others_can_change_is_refused_with_its_mode() {
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
fn symlinks_of_this_user_are_followed_on_the_way_to_a_directory() {
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
fn symlink_of_another_user_is_not_followed() {
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
fn read_any_owner_accepts_every_regular_file() {
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
fn containing_directory_of_a_file_behind_symlinks_of_this_user() {
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
        // Other systems resolve a symlink with canonicalize, which fails without a target.
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
fn containing_directory_of_a_file_behind_another_users_symlink_is_refused() {
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
fn directory_stays_the_same_when_its_path_changes() {
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
fn paths_are_refused_as_names() {
    let home = TempDir::new().unwrap();
    let directory = Directory::open(home.path()).unwrap();
    for name in ["", ".", "..", "a/b", "/"] {
        directory.create_new(name, 0o600).unwrap_err();
        directory.create_private_subdirectory(name).unwrap_err();
        directory.remove_directory(name).unwrap_err();
    }
}
