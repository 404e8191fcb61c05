//! Tests of archives as Go's archive/tar reads them, which containerd, moby and umoci use: the
//! archives of its testdata, generated, and records and types that it ignores.

use crate::layers::{cases, check_tars};
use support::tar::{BLOCK, Entry, Header, archive, extension, padded, pax_body};

/// Returns a tar of these parts, with the end of the archive after them.
fn tar(parts: &[&[u8]]) -> Vec<u8> {
    [&parts.concat()[..], &[0; 2 * BLOCK]].concat()
}

cases! {
    /// In the directory of a layer, overlayfs treats it as a whiteout. In a tar it is a device.
    a_device_0_0_is_not_a_whiteout: ["f=1 g=2", "f!0:0"] => "f!0:0 g=2";
    an_opaque_attribute_of_overlayfs_hides_nothing: ["d/ d/old=1", "d/(trusted.overlay.opaque=y) d/new=2"]
        => "d/ d/old=1 d/new=2";
    /// eStargz adds them to layers. Engines that read those as plain tars keep them as files.
    landmarks_of_estargz_are_files: [".prefetch.landmark=\\x0f .no.prefetch.landmark=\\x0f stargz.index.json={}"]
        => ".prefetch.landmark=\\x0f .no.prefetch.landmark=\\x0f stargz.index.json={}";
}

/// gnu-long-nul.tar
#[test]
fn a_long_name_ends_at_its_first_nul() {
    let symlink = Entry::symlink("wrong", "wrong").bytes();
    let name = extension(b'L', b"0123456789\0fedcba9876543210\0");
    let target = extension(b'K', b"target\0more\0\0");
    check_tars(&[tar(&[&name, &target, &symlink])], "0123456789->target");
}

/// gnu-multi-hdrs.tar
#[test]
fn the_last_of_several_long_names_counts() {
    let long = |flag, text: &str| extension(flag, &[text.as_bytes(), b"\0"].concat());
    let parts = [
        long(b'L', "GNU1/long"),
        long(b'L', "GNU2"),
        long(b'K', "GNU3/long"),
        long(b'K', "GNU4"),
        Entry::symlink("foo", "bar").bytes(),
    ];
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    check_tars(&[tar(&parts)], "GNU2->GNU4");
}

/// trailing-slash.tar
#[test]
fn a_long_name_of_a_directory_may_end_with_a_slash() {
    let name = "123456789/".repeat(30);
    let mut expected: Vec<String> = (1..30)
        .map(|depth| format!("{}(@0)", "123456789/".repeat(depth)))
        .collect();
    expected.push(name.clone());
    check_tars(&[archive(&[Entry::directory(&name)])], &expected.join(" "));
}

/// A trailing slash makes a directory of the type of v7, NUL, which other dialects have as well
/// (`TypeRegA` in Go).
#[test]
fn an_old_file_with_a_slash_is_a_directory_in_all_dialects() {
    for header in [
        Header::new(b'\0', b"d/", 0),
        Header::new(b'\0', b"d/", 0).gnu(),
        Header::new(b'\0', b"d/", 0).v7(),
    ] {
        check_tars(&[tar(&[&header.seal()])], "d/(644)");
    }
}

/// nil-uid.tar
#[test]
fn fields_without_a_number_are_zero() {
    let mut header = Header::new(b'0', b"f", 3);
    for field in [100..108, 108..116, 116..124, 136..148] {
        header.0[field].fill(0);
    }
    check_tars(&[tar(&[&header.seal(), &padded(b"abc")])], "f=abc(0,@0)");
}

/// neg-size.tar, issue10968.tar, issue11169.tar, issue12435.tar, pax-bad-hdr-file.tar,
/// pax-bad-mtime-file.tar, pax-nul-path.tar
#[test]
fn archives_that_go_refuses_are_errors() {
    let mut negative = Header::new(b'0', b"f", 0);
    negative.number(124..136, -1);
    let mut too_large = Header::new(b'0', b"f", 0);
    too_large.text(124..136, b"\x80\0\0\0\x80\0\0\0\0\0\0\0");
    let mut no_number = Header::new(b'0', b"f", 0);
    no_number.text(124..136, b"\xdc\xff\xff\xff\0\0\0\0zzzz");
    for header in [negative, too_large, no_number] {
        check_tars(&[tar(&[&header.seal()])], "error: entry 1 size");
    }
    let file = Entry::file("f", "").bytes();
    for (body, words) in [
        (&b"3 somelongkey=\n"[..], "PAX record"),
        (b"50 mtime=invalid\n", "PAX record"),
        (b"17 mtime=invalid\n", "mtime number"),
        (b"17 path=foo\0\0\0bar\n", "PAX"),
    ] {
        check_tars(
            &[tar(&[&extension(b'x', body), &file])],
            &format!("error: entry 1 {words}"),
        );
    }
    for junk in [&[b'\x18'; BLOCK][..], &[0xff; 3 * BLOCK], b"ustar\0"] {
        check_tars(&[junk.to_vec()], "error: tar");
    }
}

/// An empty name is cleaned to the path of the root.
#[test]
fn an_entry_without_a_name_is_the_root() {
    check_tars(&[tar(&[&Header::new(b'5', b"", 0).seal()])], "./(644)");
    check_tars(
        &[tar(&[&Header::new(b'0', b"", 1).seal(), &padded(b"x")])],
        "error: entry 1 root",
    );
}

/// Records that no engine applies: labels of star and of the GNU tar of Red Hat, flags and times of
/// libarchive, inode numbers of star.
#[test]
fn keywords_of_other_systems_are_ignored() {
    let records = [
        ("RHT.security.selinux", "system_u:object_r:etc_t:s0"),
        ("SCHILY.fflags", "schg,nodump"),
        ("SCHILY.ino", "4711"),
        ("SCHILY.nlink", "7"),
        ("SCHILY.realsize", "9"),
        ("LIBARCHIVE.creationtime", "17"),
        ("LIBARCHIVE.symlinktype", "dir"),
        ("GNU.dumpdir", "x"),
        ("SUN.devmajor", "1"),
        ("MSWINDOWS.rawsd", "AAAA"),
        ("realtime.any", "1"),
        ("hdrcharset", "ISO-IR 10646 2000 UTF-8"),
        ("charset", "ISO-IR 8859 1 1998"),
    ]
    .map(|(keyword, value)| (keyword.into(), value.into()));
    let file = Entry::file("f", "content").bytes();
    check_tars(&[tar(&[&extension(b'x', &pax_body(&records)), &file])], "f=content");
}
