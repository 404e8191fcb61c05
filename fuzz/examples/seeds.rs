//! Writes the seeds of the fuzz targets, from the sample image and the tests' generators of tars.
//!
//! The seeds of `tree` are inputs that fuzzing found, since no other program writes their format,
//! and the seeds called `mke2fs` are an image of that program. Both are kept as they are.

use std::error::Error;
use std::fs;
use std::path::Path;

use ext4::{Device, Directory, Formatter, InodeId, Journal, Kind, Metadata, Options, Size, Tree};

use support::tar::{BLOCK, Entry, Header, archive, extension, padded, pax_body};

/// First bytes of an input of [`microagent_fuzz::layer::run`] with one layer, as it is or in gzip.
const ONE: [u8; 3] = [0, 0, 0];
const ONE_IN_GZIP: [u8; 3] = [1 << 2, 0, 0];

/// Names and contents of seeds.
type Seeds = Vec<(String, Vec<u8>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello");
    write(&seeds.join("layer"), layers(&examples)?)?;
    write(&seeds.join("pax"), records())?;
    for target in ["image", "verify", "diff"] {
        write(&seeds.join(target), [("own", own_image()?)])?;
    }
    write(&seeds.join("manifest"), documents(&examples)?)?;
    write(&seeds.join("reference"), references())?;
    write(&seeds.join("auth"), credentials())?;
    write(&seeds.join("refusal"), refusals())?;
    Ok(())
}

fn write(directory: &Path, seeds: impl IntoIterator<Item = (impl AsRef<str>, Vec<u8>)>) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    for (name, bytes) in seeds {
        fs::write(directory.join(name.as_ref()), bytes)?;
    }
    Ok(())
}

/// Small layers of the sample image, and layers in the dialects of tar.
fn layers(examples: &Path) -> Result<Seeds, Box<dyn Error>> {
    let mut seeds = Vec::new();
    for blob in fs::read_dir(examples.join("blobs/sha256"))? {
        let blob = blob?;
        let bytes = fs::read(blob.path())?;
        let is_compressed = bytes.starts_with(b"\x1f\x8b") || bytes.starts_with(b"\x28\xb5\x2f\xfd");
        if is_compressed && bytes.len() < 4096 {
            let name = blob.file_name().to_string_lossy()[..8].to_owned();
            seeds.push((format!("hello-{name}"), [&ONE[..], &bytes].concat()));
        }
    }
    let mut add = |name: &str, flags: [u8; 3], tar: Vec<u8>| seeds.push((name.to_owned(), [&flags[..], &tar].concat()));
    let lower = archive(&[
        Entry::directory("d"),
        Entry::file("d/f", "lower"),
        Entry::file("d/g", "lower"),
        Entry::symlink("s", "d"),
    ]);
    let upper = archive(&[
        Entry::file("d/.wh.f", ""),
        Entry::file("d/.wh..wh..opq", ""),
        Entry::file("s/h", "upper"),
        Entry::hard_link("l", "d/h"),
        Entry::file("s/h", "replaced"),
    ]);
    let second = u8::try_from(lower.len() / BLOCK)?;
    add("whiteouts", [1, second, 0], [lower, upper].concat());
    add(
        "kinds",
        ONE_IN_GZIP,
        archive(&[
            Entry {
                device: (5, 1),
                ..Entry::new(b'3', "c")
            },
            Entry {
                device: (4095, 1_048_575),
                ..Entry::new(b'4', "b")
            },
            Entry::new(b'6', "p"),
            Entry::file("f", "text")
                .pax("SCHILY.xattr.user.a", "value")
                .pax("mtime", "1.5"),
            Entry {
                uid: 1 << 22,
                mtime: -1,
                ..Entry::file("base-256", "")
            },
        ]),
    );
    let gnu = [
        &extension(b'L', &[&b"long/"[..], &[b'n'; 120]].concat())[..],
        &Header::new(b'0', b"cut", 3).gnu().seal(),
        &padded(b"abc"),
        &extension(b'K', &[b't'; 120]),
        &Header::new(b'2', b"link", 0).gnu().seal(),
        &old_sparse(),
        &padded(b"headtail"),
    ];
    add("gnu", ONE, gnu.concat());
    let mut prefixed = Header::new(b'0', b"name", 3);
    prefixed.text(345..500, b"some/prefix");
    let ustar = [
        &prefixed.seal()[..],
        &padded(b"abc"),
        &Header::new(b'\0', b"v7/", 0).v7().seal(),
    ];
    add("ustar-v7", ONE, ustar.concat());
    let map = "GNU.sparse.map";
    let sparse = Entry::file("GNUSparseFile.0/x", "headtail")
        .pax("GNU.sparse.major", "0")
        .pax("GNU.sparse.minor", "1")
        .pax("GNU.sparse.name", "sparse")
        .pax("GNU.sparse.size", "10000")
        .pax(map, "0,4,9996,4");
    add("pax-sparse", ONE, archive(&[sparse]));
    Ok(seeds)
}

/// Returns the header of a sparse file in GNU tar's own format.
fn old_sparse() -> [u8; 512] {
    let mut header = Header::new(b'S', b"sparse", 8).gnu();
    header.octal(386..398, 0);
    header.octal(398..410, 4);
    header.octal(410..422, 99_996);
    header.octal(422..434, 4);
    header.octal(483..495, 100_000);
    header.seal()
}

/// PAX records of Go, GNU tar, star and bsdtar. The first two bytes select the types of the
/// headers.
fn records() -> Vec<(&'static str, Vec<u8>)> {
    let body = |records: &[(&str, &str)]| {
        let records: Vec<_> = records
            .iter()
            .map(|(keyword, value)| ((*keyword).into(), (*value).into()))
            .collect();
        pax_body(&records)
    };
    let seed = |types: [u8; 2], body: Vec<u8>, map: &[u8]| [&types[..], &body, b"\0", map].concat();
    vec![
        (
            "go",
            seed(
                [0, 0],
                body(&[
                    ("path", "d/other"),
                    ("mtime", "1350244992.023960108"),
                    ("atime", "-1.5"),
                    ("uid", "4294967294"),
                    ("SCHILY.xattr.security.capability", "\u{1}\n\0"),
                    ("SCHILY.xattr.user.empty", ""),
                ]),
                b"",
            ),
        ),
        (
            "libarchive",
            seed(
                [0, 5],
                body(&[
                    ("LIBARCHIVE.xattr.user.a%3Db", "AAH/"),
                    ("SCHILY.acl.access", "user::rwx"),
                    ("ctime", ""),
                ]),
                b"",
            ),
        ),
        (
            "device",
            seed(
                [0, 3],
                body(&[("SCHILY.devmajor", "4095"), ("SCHILY.devminor", "1048575")]),
                b"",
            ),
        ),
        (
            "sparse-0.0",
            seed(
                [0, 0],
                body(&[
                    ("GNU.sparse.size", "9000"),
                    ("GNU.sparse.numblocks", "2"),
                    ("GNU.sparse.offset", "0"),
                    ("GNU.sparse.numbytes", "24"),
                    ("GNU.sparse.offset", "8000"),
                    ("GNU.sparse.numbytes", "1000"),
                ]),
                b"",
            ),
        ),
        (
            "sparse-1.0",
            seed(
                [0, 0],
                body(&[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "d/sparse"),
                    ("GNU.sparse.realsize", "90000"),
                ]),
                b"1\n88000\n512\n",
            ),
        ),
        (
            "global",
            seed([1, 0], body(&[("comment", "0badcafe"), ("gid", "7")]), b""),
        ),
        ("long-name", seed([2, 0], b"d/a/long/name".to_vec(), b"")),
        ("long-link", seed([3, 2], b"../a/long/target".to_vec(), b"")),
    ]
}

/// Makes a small image with files of several kinds.
fn own_image() -> Result<Vec<u8>, Box<dyn Error>> {
    let options = Options {
        block_size: ext4::BlockSize::Kib1,
        inodes: ext4::Inodes::AtLeast(16),
        size: Size::Fixed(36 << 10),
        journal: Journal::None,
        growth: false,
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(Vec::new(), options)?;
    let mut tree = Tree::default();
    let root = InodeId::ROOT;
    let mut metadata = Metadata {
        mode: 0o644,
        ..Metadata::default()
    };
    metadata.xattrs.set(b"user.note", b"near")?;
    let sparse = formatter.write_sparse(&b"headtail"[..], 9000, &[0..4, 8996..9000])?;
    tree.insert(root, b"file", metadata.clone(), Kind::File(sparse))?;
    metadata.xattrs.set(b"user.large", &[b'x'; 300])?;
    metadata.xattrs.set(b"user.huge", &[b'y'; 1100])?;
    let directory = tree.insert(root, b"d", metadata.clone(), Kind::Directory(Directory::new()))?;
    tree.insert(
        directory,
        b"fast",
        metadata.clone(),
        Kind::Symlink(b"../file"[..].into()),
    )?;
    tree.insert(
        directory,
        b"slow",
        metadata.clone(),
        Kind::Symlink(vec![b'/'; 70].into()),
    )?;
    let device = Device {
        major: 259,
        minor: 300_000,
    };
    tree.insert(directory, b"device", metadata, Kind::BlockDevice(device))?;
    Ok(formatter.finish(tree)?.0)
}

/// Documents of the sample image, and in the format of Docker.
fn documents(examples: &Path) -> Result<Seeds, Box<dyn Error>> {
    let config = br#"{"architecture":"arm64","variant":"v8","os":"linux","created":"2026-01-02T03:04:05.678Z","config":{"User":"app:staff","Env":["PATH=/bin","A=b"],"Entrypoint":["/bin/app"],"Cmd":["-c","x"],"WorkingDir":"/srv","Labels":null,"StopSignal":"SIGRTMIN+3"},"rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}}"#;
    let digest = "a".repeat(64);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":7,"digest":"sha256:{digest}"}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":7,"digest":"sha256:{digest}"}}]}}"#
    );
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n";
    let group = "root:x:0:\nstaff:x:50:app\n";
    let parts = [docker, &manifest, &String::from_utf8_lossy(config), passwd, group];
    let index = fs::read(examples.join("index.json"))?;
    let oci = "application/vnd.oci.image.index.v1+json";
    Ok(vec![
        ("docker".to_owned(), parts.join("\0").into_bytes()),
        ("index".to_owned(), [oci.as_bytes(), b"\0", &index].concat()),
    ])
}

fn refusals() -> Vec<(&'static str, Vec<u8>)> {
    let bearer = r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push""#;
    let json = r#"{"errors": [{"code": "DENIED", "message": "no", "detail": {"reason": "no"}}]}"#;
    [
        ("bearer", format!("{bearer}\n{json}")),
        (
            "basic",
            "Negotiate, Basic realm=\"x\"\n{\"error\": \"x\", \"error_description\": \"y\"}".to_owned(),
        ),
        (
            "page",
            "Bearer realm=x service=y\n<!DOCTYPE html><html><title>Sign in</title></html>".to_owned(),
        ),
    ]
    .map(|(name, text)| (name, text.into_bytes()))
    .into()
}

fn references() -> Vec<(&'static str, Vec<u8>)> {
    [
        ("short", "debian"),
        ("tag", "docker://quay.io:443/a/b_c/d--e:1.0"),
        (
            "digest",
            "a.example/x@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("ipv6", "[::1]:5000/a/b"),
        ("layout", "oci:some/dir:docker.io/library/x:1"),
        (
            "layout-digest",
            "oci:C:\\x@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("transport", "docker-archive:x.tar"),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .to_vec()
}

fn credentials() -> Vec<(&'static str, Vec<u8>)> {
    [
        (
            "nested",
            "a.example/team/app\n{\"auths\":{\"a.example\":{\"auth\":\"dTpw\"},\"a.example/team\":{\"auth\":\"dTpw\",\"identitytoken\":\"t\"}}}",
        ),
        (
            "docker-login",
            "debian\n{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dTpwOng=\"}},\"credsStore\":\"x\"}",
        ),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .to_vec()
}
