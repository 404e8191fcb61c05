//! Tests of compressed layers: every form that registries hold, decompressed and applied.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression as Level, Crc, GzBuilder};
use layer::{Compression, DecodeError, decode};

use crate::layers::{apply, check_tars};
use support::skip::skip;
use support::tar::{BLOCK, Entry, archive, padded};

const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Checks how a blob is compressed, and the tree that its layer makes.
fn check(blob: &[u8], compression: Compression, expected: &str) {
    let mut decoder = decode(blob, MEDIA_TYPE).unwrap();
    assert_eq!(decoder.compression(), compression);
    let mut tar = Vec::new();
    decoder.read_to_end(&mut tar).unwrap();
    check_tars(&[tar], expected);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Returns a frame that every decoder skips (RFC 8878, section 3.1.2).
fn skippable(number: u8, content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap();
    [&[0x50 + number, 0x2a, 0x4d, 0x18], &len.to_le_bytes()[..], content].concat()
}

/// Returns the entries of an archive one by one, and its end.
fn parts() -> Vec<Vec<u8>> {
    let entries = [
        Entry::directory("d"),
        Entry::file("d/f", vec![b'x'; 3000]),
        Entry::symlink("l", "d/f"),
    ];
    let mut parts: Vec<Vec<u8>> = entries.iter().map(Entry::bytes).collect();
    parts.push(vec![0; 2 * BLOCK]);
    parts
}

fn expected() -> String {
    format!("d/ d/f={} l->d/f", "x".repeat(3000))
}

#[test]
fn uncompressed_layers() {
    check(&parts().concat(), Compression::None, &expected());
    check(b"", Compression::None, "");
}

#[test]
fn gzip_in_one_member_or_many() {
    check(&gzip(&parts().concat()), Compression::Gzip, &expected());
    let members: Vec<_> = parts().iter().map(|part| gzip(part)).collect();
    check(&members.concat(), Compression::Gzip, &expected());
    // Members may end anywhere, even in the middle of a header.
    let tar = parts().concat();
    let members: Vec<_> = tar.chunks(100).map(gzip).collect();
    check(&members.concat(), Compression::Gzip, &expected());
    check(&[&gzip(&tar)[..], &[0; 5000]].concat(), Compression::Gzip, &expected());
    check(&gzip(b""), Compression::Gzip, "");
}

/// RFC 1952: an extra field, a name, a comment and a checksum of the header, all at once.
#[test]
fn gzip_with_every_field() {
    let tar = parts().concat();
    let mut header = vec![0x1f, 0x8b, 8, 0b1_1111, 1, 2, 3, 4, 2, 3];
    header.extend(7_u16.to_le_bytes());
    header.extend(b"AB\x03\0xyz");
    header.extend(b"layer.tar\0comment\0");
    let mut crc = Crc::new();
    crc.update(&header);
    header.extend(&crc.sum().to_le_bytes()[..2]);
    let mut deflate = DeflateEncoder::new(Vec::new(), Level::fast());
    deflate.write_all(&tar).unwrap();
    let mut crc = Crc::new();
    crc.update(&tar);
    let footer = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
    let blob = [header, deflate.finish().unwrap(), footer].concat();
    check(&blob, Compression::Gzip, &expected());
}

/// stargz-snapshotter, docs/estargz.md: a member for each entry, then the table of contents, which
/// is an entry as well, and a footer without content. The extra field of the footer has the offset
/// of the table. Engines that do not know the format keep the table as a file.
#[test]
fn estargz() {
    let entries = [
        Entry::file(".no.prefetch.landmark", "\x0f"),
        Entry::directory("d"),
        Entry::file("d/f", "text"),
    ];
    let mut blob: Vec<u8> = entries.iter().flat_map(|entry| gzip(&entry.bytes())).collect();
    let table_offset = blob.len();
    let table = [Entry::file("stargz.index.json", "{}").bytes(), vec![0; 2 * BLOCK]].concat();
    blob.extend(gzip(&table));
    let field = format!("{table_offset:016x}STARGZ");
    let len = u16::try_from(field.len()).unwrap();
    let extra = [b"SG", &len.to_le_bytes()[..], field.as_bytes()].concat();
    blob.extend(
        GzBuilder::new()
            .extra(extra)
            .write(Vec::new(), Level::none())
            .finish()
            .unwrap(),
    );
    check(
        &blob,
        Compression::Gzip,
        ".no.prefetch.landmark=\\x0f d/ d/f=text stargz.index.json={}",
    );
}

#[test]
fn zstd_in_one_frame_or_many() {
    check(&zstd(&parts().concat()), Compression::Zstd, &expected());
    let frames: Vec<_> = parts().iter().map(|part| zstd(part)).collect();
    check(&frames.concat(), Compression::Zstd, &expected());
    let tar = parts().concat();
    let frames: Vec<_> = tar
        .chunks(100)
        .flat_map(|chunk| [zstd(chunk), zstd(b""), skippable(15, b"")])
        .collect();
    check(&frames.concat(), Compression::Zstd, &expected());
    check(&zstd(b""), Compression::Zstd, "");
    check(&skippable(0, b"nothing else"), Compression::Zstd, "");
}

/// containers/storage, pkg/chunked: a frame for each file, the manifest and the data of tar-split
/// in skippable frames, and a footer of 64 bytes in another.
#[test]
fn zstd_chunked() {
    let mut blob: Vec<u8> = parts().iter().flat_map(|part| zstd(part)).collect();
    blob.extend(skippable(0, &zstd(br#"{"version":1,"entries":[]}"#)));
    blob.extend(skippable(0, &zstd(b"tar-split")));
    blob.extend(skippable(0, &[&[1; 56][..], b"GNUlInUx"].concat()));
    check(&blob, Compression::Zstd, &expected());
}

/// Blobs of the original programs, with the options that add to the format.
#[test]
fn layers_compressed_by_programs() {
    let tar = [Entry::file("f", "x".repeat(3000)).bytes(), padded(&[0; 2 * BLOCK])].concat();
    let expected = format!("f={}", "x".repeat(3000));
    for (program, compression) in [
        (&["gzip", "-1"][..], Compression::Gzip),
        (&["gzip", "-9", "--rsyncable"], Compression::Gzip),
        (&["zstd", "-1"], Compression::Zstd),
        (&["zstd", "--ultra", "-22", "--long=27", "--check"], Compression::Zstd),
        (&["zstd", "-T4", "--no-check", "--no-content-size"], Compression::Zstd),
        (&["pzstd", "-c"], Compression::Zstd),
    ] {
        if let Some(blob) = compress(program, &tar) {
            check(&blob, compression, &expected);
        }
    }
}

#[test]
fn other_compressions_are_refused_by_name() {
    let tar = archive(&[Entry::file("f", "x")]);
    for (program, expected) in [(&["bzip2"][..], "bzip2"), (&["xz"], "xz"), (&["lz4", "-c"], "lz4")] {
        for tar in [&tar[..], b""] {
            let Some(blob) = compress(program, tar) else { break };
            let error = decode(&blob[..], MEDIA_TYPE).err().unwrap();
            assert!(
                matches!(error, DecodeError::Unsupported { name } if name == expected),
                "{error}"
            );
        }
    }
}

/// Runs a program on an input; `None` if it is not installed.
fn compress(command: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let program = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut program) = program else {
        skip(&format!("{} is not installed", command[0]));
        return None;
    };
    // The input is smaller than a pipe, so this cannot block.
    program.stdin.take().unwrap().write_all(input).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    Some(output.stdout)
}

/// Media types for layers in the image-spec and in Docker, foreign ones included, and the
/// compression that they announce.
#[test]
fn media_types_announce_a_compression() {
    for (media_type, announced) in [
        ("application/vnd.oci.image.layer.v1.tar", Compression::None),
        ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
        ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            Compression::None,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            Compression::Gzip,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            Compression::Zstd,
        ),
        ("application/vnd.docker.image.rootfs.diff.tar", Compression::None),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", Compression::Zstd),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            Compression::Gzip,
        ),
    ] {
        assert_eq!(
            Compression::from_media_type(media_type),
            Some(announced),
            "{media_type}"
        );
        // The bytes decide, whatever the media type.
        for blob in [parts().concat(), gzip(&parts().concat()), zstd(&parts().concat())] {
            let mut tar = Vec::new();
            decode(&blob[..], media_type).unwrap().read_to_end(&mut tar).unwrap();
            assert_eq!(tar, parts().concat());
        }
    }
    for media_type in [
        "",
        "application/octet-stream",
        "application/gzip",
        "text/html; charset=utf-8",
    ] {
        assert_eq!(Compression::from_media_type(media_type), None, "{media_type}");
    }
}

/// The empty layer that Docker made for instructions that change nothing: `sha256:a3ed95ca…`, a
/// gzip of 1,024 zeros, which hundreds of thousands of images hold.
#[test]
fn the_empty_layer_of_docker() {
    let blob = [
        0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff, 0x62, 0x18, 5, 0xa3, 0x60, 0x14, 0x8c, 0x58, 0, 8, 0, 0, 0xff,
        0xff, 0x2e, 0xaf, 0xb5, 0xef, 0, 4, 0, 0,
    ];
    assert_eq!(
        digest(&blob),
        "a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
    );
    check(&blob, Compression::Gzip, "");
    let mut tar = Vec::new();
    decode(&blob[..], MEDIA_TYPE).unwrap().read_to_end(&mut tar).unwrap();
    assert_eq!(
        digest(&tar),
        "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    );
    let (_, summaries) = apply(&[tar]).unwrap();
    assert_eq!((summaries[0].entry_count, summaries[0].data_after_end), (0, false));
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(bytes);
    hash.iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
