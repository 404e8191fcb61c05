//! Tests of each dialect of tar, v7, ustar, GNU, star and PAX: the same files in all of them, and
//! the fields and records that only some have.

use ext4::Timestamp;
use layer::LayerOptions;

use crate::layers::{apply, apply_with, cases, check_tars};
use support::tar::{BLOCK, Entry, Header, archive, extension, padded, pax_body};

/// Returns a tar of these parts, with the end of the archive after them.
fn tar(parts: &[&[u8]]) -> Vec<u8> {
    [&parts.concat()[..], &[0; 2 * BLOCK]].concat()
}

fn records(records: &[(&str, &str)]) -> Vec<u8> {
    let records: Vec<_> = records
        .iter()
        .map(|(keyword, value)| ((*keyword).into(), (*value).into()))
        .collect();
    pax_body(&records)
}

/// Returns a tar of a file `f` with a PAX header.
fn with_records(list: &[(&str, &str)]) -> Vec<u8> {
    tar(&[&extension(b'x', &records(list)), &Entry::file("f", "content").bytes()])
}

cases! {
    /// Unix v7: no magic, so no prefix and no device numbers.
    mode_bits_above_the_permissions_are_ignored: ["f=x(100644) d/(40700) s->f(120777)"] => "f=x d/(700) s->f";
    large_owners_and_times_are_in_base_256: ["f=x(2097151:2097152,@68719476736) g=x(4294967294:70000,@-1)"]
        => "f=x(2097151:2097152,@15032385535.999999999) g=x(4294967294:70000,@-1)";
    /// PAX: the digits that ext4 stores. Digits after the ninth are cut off.
    times_have_nanoseconds: ["f=x(@1350244992.02396010899) g=x(@-1.5) h=x(@1.000000001) i=x(@0.5)"]
        => "f=x(@1350244992.023960108) g=x(@-2.500000000) h=x(@1.000000001) i=x(@0.500000000)";
    /// Other ext4 builders store 1901 and 2378 for times out of 32 bits. ext4 ends in 2446.
    times_beyond_2038_and_before_1970: ["f=x(@2147483648) g=x(@-2147483648) h=x(@15032385535) i=x(@-2147483649) j=x(@99999999999999)"]
        => "f=x(@2147483648) g=x(@-2147483648) h=x(@15032385535) i=x(@-2147483648) j=x(@15032385535.999999999)";
    /// Other ext4 builders drop them (`ping` loses its capability), or split records at newlines.
    extended_attributes_hold_any_bytes: [
        "f=x(security.capability=\\x01\\x0a28\\x20linkpath=/etc/shadow\\x0a\\x00,user.empty=,trusted.t=\\xff) l->t(security.selinux=s\\x00)",
    ] => "f=x(security.capability=\\x01\\x0a28\\x20linkpath=/etc/shadow\\x0a\\x00,trusted.t=\\xff,user.empty=) l->t(security.selinux=s\\x00)";
    /// Apple's bsdtar. Linux refuses them, and so do containerd's and moby's appliers; ext4 has no
    /// place for long ones.
    extended_attributes_of_other_systems_are_left_out: [
        "f=x(com.apple.provenance=\\x01,user.a=b,user.=c,systematic=d) l->t(com.apple.quarantine=0081;5f;Safari;)",
    ] => "f=x(user.a=b) l->t";
    large_device_numbers: ["a!4095:1048575 b!!259:300000"] => "a!4095:1048575 b!!259:300000";
    device_numbers_beyond_linux: ["a!4096:0"] => "error: entry 1 4096:0 device";
}

#[test]
fn a_trailing_slash_makes_a_directory_in_v7() {
    let mut symlink = Header::new(b'2', b"s", 0);
    symlink.text(157..257, b"d/f");
    check_tars(
        &[tar(&[
            &Header::new(b'\0', b"d/", 0).v7().seal(),
            &Header::new(b'\0', b"d/f", 3).v7().seal(),
            &padded(b"abc"),
            &symlink.v7().seal(),
        ])],
        "d/(644) d/f=abc s->d/f",
    );
}

#[test]
fn a_trailing_slash_makes_no_directory_in_ustar() {
    check_tars(&[tar(&[&Header::new(b'0', b"f/", 3).seal(), &padded(b"abc")])], "f=abc");
}

#[test]
fn contiguous_files_are_files() {
    check_tars(&[tar(&[&Header::new(b'7', b"f", 3).seal(), &padded(b"abc")])], "f=abc");
}

#[test]
fn ustar_names_have_a_prefix() {
    let mut header = Header::new(b'0', &[b'n'; 100], 3);
    header.text(345..500, &[b'p'; 155]);
    let expected = format!("{}/(@0) {0}/{}=abc", "p".repeat(155), "n".repeat(100));
    check_tars(&[tar(&[&header.seal(), &padded(b"abc")])], &expected);
}

#[test]
fn star_has_times_where_ustar_has_a_prefix() {
    let mut header = Header::new(b'0', b"f", 0);
    header.text(345..347, b"d");
    header.octal(476..488, 5);
    header.octal(488..500, 6);
    header.text(508..512, b"tar\0");
    check_tars(&[tar(&[&header.seal()])], "d/(@0) d/f=(a@5,c@6)");
}

#[test]
fn gnu_has_times_where_ustar_has_a_prefix() {
    let mut header = Header::new(b'0', b"f", 0).gnu();
    header.octal(345..357, 5);
    header.number(357..369, -6);
    check_tars(&[tar(&[&header.seal()])], "f=(a@5,c@-6)");
}

/// golang.org/issue/12594, which containerd has a test for (`TestPrefixHeaderReadable`).
#[test]
fn go_before_1_8_wrote_gnu_headers_with_a_prefix() {
    let mut header = Header::new(b'0', b"foo", 0).gnu();
    header.text(345..500, &[b'a'; 97]);
    check_tars(&[tar(&[&header.seal()])], &format!("{}/(@0) {0}/foo=", "a".repeat(97)));
}

#[test]
fn gnu_long_names_and_long_links() {
    let name = ["directory"; 30].join("/");
    let target = "t".repeat(300);
    let parents: Vec<String> = (1..30)
        .map(|depth| format!("{}/(@0)", ["directory"; 30][..depth].join("/")))
        .collect();
    let long = |flag, text: &str| extension(flag, &[text.as_bytes(), b"\0"].concat());
    let expected = format!("{} {name}->{target}", parents.join(" "));
    let symlink = Entry::symlink(&name[..99], &target[..99]).bytes();
    check_tars(&[tar(&[&long(b'L', &name), &long(b'K', &target), &symlink])], &expected);
    check_tars(&[tar(&[&long(b'K', &target), &long(b'L', &name), &symlink])], &expected);
    // Go: a long name of GNU overrides the one of PAX.
    let pax = extension(
        b'x',
        &records(&[("path", "other"), ("linkpath", "other"), ("uid", "7")]),
    );
    let expected = format!("{expected}(7:0)");
    check_tars(
        &[tar(&[&long(b'L', &name), &pax, &long(b'K', &target), &symlink])],
        &expected,
    );
}

#[test]
fn numbers_of_other_widths_and_paddings_are_read() {
    let mut header = Header::new(b'0', b"f", 0);
    header.text(100..108, b"   755 \0");
    header.text(108..116, b"\0\0\0\0\0\x31\0\0");
    header.text(116..124, b"        ");
    header.text(124..136, b"3          \0");
    header.text(136..148, b"000000000077");
    check_tars(&[tar(&[&header.seal(), &padded(b"abc")])], "f=abc(755,1:0,@63)");
}

#[test]
fn pax_records_override_the_header() {
    let mut header = Header::new(b'0', b"wrong", 0);
    // A compliant reader does not parse fields that records override.
    header.text(108..116, b"invalid!");
    header.text(124..136, b"too large...");
    header.text(136..148, b"also invalid");
    let pax = records(&[
        ("path", "d/f"),
        ("size", "7"),
        ("uid", "70000"),
        ("gid", "+70001"),
        ("mtime", "1.25"),
        ("atime", "2.5"),
        ("ctime", "-3"),
        ("comment", "ignored"),
        ("hdrcharset", "BINARY"),
        ("uname", "nobody"),
        ("VENDOR.unknown", "\u{0}"),
    ]);
    check_tars(
        &[tar(&[&extension(b'x', &pax), &header.seal(), &padded(b"content")])],
        "d/(@0) d/f=content(70000:70001,@1.250000000,a@2.500000000,c@-3)",
    );
}

#[test]
fn pax_records_hold_for_one_entry() {
    let file = |name| Entry::file(name, "").bytes();
    check_tars(
        &[tar(&[
            &extension(b'x', &records(&[("uid", "5"), ("path", "a")])),
            &file("x"),
            &file("b"),
        ])],
        "a=(5:0) b=",
    );
}

#[test]
fn the_last_of_several_pax_headers_counts() {
    check_tars(
        &[tar(&[
            &extension(b'x', &records(&[("uid", "5"), ("gid", "6")])),
            &extension(b'x', &records(&[("gid", "7")])),
            &Entry::file("f", "").bytes(),
        ])],
        "f=(0:7)",
    );
}

/// All readers except the `tar` crate use the last of duplicate records.
#[test]
fn the_last_of_duplicate_records_counts() {
    check_tars(
        &[with_records(&[
            ("path", "a"),
            ("path", "b"),
            ("uid", "1"),
            ("uid", "2"),
        ])],
        "b=content(2:0)",
    );
}

#[test]
fn a_record_without_a_value_removes_earlier_ones() {
    check_tars(
        &[with_records(&[("path", "a"), ("path", ""), ("mtime", "")])],
        "f=content",
    );
}

#[test]
fn names_in_pax_records_need_not_be_utf8() {
    let body = pax_body(&[
        (b"path".to_vec(), b"\xff\xfe\n=".to_vec()),
        (b"hdrcharset".to_vec(), b"BINARY".to_vec()),
    ]);
    check_tars(
        &[tar(&[&extension(b'x', &body), &Entry::file("f", "").bytes()])],
        "\\xff\\xfe\\x0a==",
    );
}

/// Other ext4 builders create a regular file `pax_global_header`.
#[test]
fn global_headers_are_not_files() {
    let comment = records(&[("comment", "57a1f1c1c5a5a2e9b8b9d1f6c9b7e4d2a1b0c3d4")]);
    check_tars(
        &[tar(&[&extension(b'g', &comment), &Entry::file("f", "x").bytes()])],
        "f=x",
    );
    check_tars(&[tar(&[&extension(b'g', &comment)])], "");
}

/// As in POSIX and GNU tar. Go, and so containerd, ignores global headers.
#[test]
fn global_records_hold_until_others_override_them() {
    let file = |name| Entry::file(name, "").bytes();
    let layer = tar(&[
        &extension(b'g', &records(&[("uid", "5"), ("mtime", "9.5")])),
        &file("a"),
        &extension(b'x', &records(&[("uid", "6")])),
        &file("b"),
        &extension(b'x', &records(&[("mtime", "")])),
        &file("c"),
        &extension(b'x', &records(&[("gid", "1")])),
        &extension(b'g', &records(&[("uid", "7")])),
        &file("d"),
        &extension(b'g', &records(&[("uid", ""), ("mtime", "")])),
        &file("e"),
    ]);
    let expected = "a=(5:0,@9.500000000) b=(6:0,@9.500000000) c=(5:0) d=(7:1,@9.500000000) e=";
    check_tars(std::slice::from_ref(&layer), expected);
    // Global records end with the layer.
    check_tars(&[layer, archive(&[Entry::file("f", "")])], &format!("{expected} f="));
}

#[test]
fn a_global_header_cannot_name_files() {
    for keyword in ["path", "linkpath", "size", "SCHILY.xattr.user.a", "GNU.sparse.size"] {
        let layer = tar(&[
            &extension(b'g', &records(&[(keyword, "1")])),
            &Entry::file("f", "").bytes(),
        ]);
        check_tars(&[layer], &format!("error: entry 1 global {keyword}"));
    }
}

#[test]
fn devices_of_star_have_records_of_their_own() {
    let device = Entry::new(b'3', "c")
        .pax("SCHILY.devmajor", "259")
        .pax("SCHILY.devminor", "65536");
    check_tars(&[archive(&[device])], "c!259:65536");
}

/// bsdtar: names are percent-encoded, and values base64. The same attribute in the form
/// `SCHILY.xattr.*` takes precedence.
#[test]
fn attributes_of_libarchive_are_decoded() {
    check_tars(
        &[with_records(&[
            ("SCHILY.xattr.user.a", "schily"),
            ("LIBARCHIVE.xattr.user.a", "bGliYXJjaGl2ZQ"),
            ("LIBARCHIVE.xattr.security.capability", "AQAAAgAAAAA"),
            ("LIBARCHIVE.xattr.user.%3D%25", ""),
        ])],
        "f=content(security.capability=\\x01\\x00\\x00\\x02\\x00\\x00\\x00\\x00,user.=%=,user.a=schily)",
    );
}

/// Attributes outside of the namespaces of Linux.
#[test]
fn extended_attributes_of_other_systems_are_counted() {
    let quarantine = "0081;5f000000;Safari;".repeat(30);
    let layer = with_records(&[
        ("SCHILY.xattr.com.apple.quarantine", &quarantine),
        ("LIBARCHIVE.xattr.com.apple.FinderInfo", "AAAA"),
        ("SCHILY.xattr.user.note", "kept"),
    ]);
    let (tree, summaries) = apply(&[layer]).unwrap();
    assert_eq!(tree, ["f=content(user.note=kept)"]);
    assert_eq!(summaries[0].ignored_xattrs, 2);
}

/// No engine applies the textual form. The binary form is an extended attribute like any other.
#[test]
fn textual_acls_are_counted_and_left_out() {
    let layer = with_records(&[
        ("SCHILY.acl.access", "user::rw-,user:joe:rwx:1000"),
        ("SCHILY.acl.default", "x"),
    ]);
    let (tree, summaries) = apply(&[layer]).unwrap();
    assert_eq!(tree, ["f=content"]);
    assert_eq!((summaries[0].ignored_acls, summaries[0].ignored_xattrs), (2, 0));
}

#[test]
fn binary_acls_are_kept() {
    let acl = "\\x02\\x00\\x00\\x00\\x01\\x00\\x06\\x00\\xff\\xff\\xff\\xff\\x04\\x00\\x04\\x00\\xff\\xff\\xff\\xff\\x20\\x00\\x04\\x00\\xff\\xff\\xff\\xff";
    crate::layers::check(
        &[&format!("f=x(system.posix_acl_access={acl})")],
        &format!("f=x(system.posix_acl_access={acl})"),
    );
}

/// xattr(7): only files and directories can have them. containerd leaves the others out, with a
/// warning.
#[test]
fn user_attributes_of_other_types_are_counted_and_left_out() {
    let layer = "s->t(user.a=1,user.b=2,security.c=3) c!1:3(user.a=1) p|(user.a=1) d/(user.a=1) f=x(user.a=1)";
    let (tree, summaries) = apply(&[archive(&crate::layers::notation::entries(layer))]).unwrap();
    assert_eq!(
        tree,
        ["c!1:3", "d/(user.a=1)", "f=x(user.a=1)", "p|", "s->t(security.c=3)"]
    );
    assert_eq!((summaries[0].entry_count, summaries[0].ignored_xattrs), (5, 4));
}

#[test]
fn attributes_without_a_name_are_errors() {
    check_tars(
        &[with_records(&[("SCHILY.xattr.", "1")])],
        "error: entry 1 \"f\" attribute",
    );
}

/// As in Go, `isHeaderOnlyType`. The `tar` crate reads the following blocks as their content.
#[test]
fn only_files_have_content() {
    let mut parts = Vec::new();
    for (flag, name) in [
        (b'5', "d"),
        (b'2', "s"),
        (b'1', "h"),
        (b'3', "c"),
        (b'4', "b"),
        (b'6', "p"),
    ] {
        let mut header = Header::new(flag, name.as_bytes(), 1000);
        header.text(157..257, b"f");
        parts.push(header.seal().to_vec());
    }
    let parts = [vec![Entry::file("f", "x").bytes()], parts].concat();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    check_tars(&[tar(&parts)], "f=x d/(644) s->f h==f c!0:0 b!!0:0 p|");
}

/// GNU tar --label.
#[test]
fn a_volume_label_is_not_a_file() {
    check_tars(
        &[tar(&[
            &Header::new(b'V', b"label", 0).gnu().seal(),
            &Entry::file("f", "x").bytes(),
        ])],
        "f=x",
    );
}

#[test]
fn unusable_types_are_refused_by_name() {
    for (flag, name) in [
        (b'D', "incremental"),
        (b'M', "volume"),
        (b'N', "long"),
        (b'A', "ACL"),
        (b'X', "Solaris"),
        (b'Z', "unknown"),
        (0xff, "\\u{ff}"),
    ] {
        let layer = tar(&[&Entry::file("f", "x").bytes(), &Header::new(flag, b"odd", 0).seal()]);
        check_tars(&[layer], &format!("error: entry 2 \"odd\" {name}"));
    }
}

#[test]
fn owners_and_devices_beyond_32_bits_are_errors() {
    for (keyword, value) in [("uid", "4294967295"), ("gid", "-1"), ("uid", "9223372036854775807")] {
        check_tars(
            &[with_records(&[(keyword, value)])],
            &format!("error: entry 1 \"f\" {keyword} {value} 4294967294"),
        );
    }
    check_tars(
        &[with_records(&[("uid", "9223372036854775808")])],
        "error: uid 9223372036854775808 number",
    );
    let device = Entry::new(b'3', "c").pax("SCHILY.devmajor", "-1");
    check_tars(&[archive(&[device])], "error: entry 1 \"c\" major -1");
}

#[test]
fn max_time_caps_times() {
    let mut options = LayerOptions::default();
    options.max_time = Some(Timestamp::saturating(100, 5));
    let file = Entry::file("b", "")
        .pax("atime", "200")
        .pax("mtime", "50")
        .pax("ctime", "100.000000006");
    let layer = [
        crate::layers::notation::entries("./(@300) a=(@100.000000006) d/e=(@99)"),
        vec![file],
    ]
    .concat();
    let (tree, _) = apply_with(&[archive(&layer)], &options).unwrap();
    assert_eq!(
        tree,
        [
            "./(@100.000000005)",
            "a=(@100.000000005)",
            "b=(@50,a@100.000000005,c@100.000000005)",
            "d/(@0)",
            "d/e=(@99)"
        ]
    );
}
