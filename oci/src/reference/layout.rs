//! References to an image in an OCI image layout: `oci:` and `oci-archive:`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ReferenceError;
use crate::digest::Digest;

/// Prefixes of digests that image-spec registers. Other text after an `@` is part of the path.
const ALGORITHMS: [&str; 3] = ["sha256:", "sha512:", "blake3:"];

/// An image in an OCI image layout, which is a directory or a tar of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayoutReference {
    /// Path of the directory, or of the tar.
    pub(crate) directory: PathBuf,
    /// Set if the layout is in a tar.
    pub(crate) archived: bool,
    pub(crate) selector: Option<TagOrDigest>,
}

/// The tag or digest in a reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TagOrDigest {
    Tag(String),
    Digest(Digest),
}

impl LayoutReference {
    /// Parses the text after `oci:` or `oci-archive:`.
    pub(super) fn parse(text: &str, archived: bool) -> Result<Self, ReferenceError> {
        let is_layout = |path: &Path| {
            if archived {
                path.is_file()
            } else {
                path.join("oci-layout").is_file()
            }
        };
        let (directory, selector) = split_tag_or_digest(text, is_layout)?;
        if directory.is_empty() {
            return Err(if archived {
                ReferenceError::NoPath {
                    transport: "oci-archive",
                }
            } else {
                ReferenceError::NoDirectory
            });
        }
        Ok(Self {
            directory: directory.into(),
            archived,
            selector,
        })
    }
}

/// Splits a path from the digest or tag behind it. Of all readings of `a:b:c`, the shortest path
/// for which `is_image` returns true wins. If none does, the path ends before the first colon.
pub(super) fn split_tag_or_digest(
    text: &str,
    is_image: impl Fn(&Path) -> bool,
) -> Result<(&str, Option<TagOrDigest>), ReferenceError> {
    match text.rsplit_once('@') {
        Some((path, digest)) if ALGORITHMS.iter().any(|name| digest.starts_with(name)) => {
            Ok((path, Some(TagOrDigest::Digest(digest.parse()?))))
        }
        _ => split_tag(text, is_image),
    }
}

/// Splits a path from the tag behind it. The colon of a Windows drive is part of the path.
fn split_tag(text: &str, is_layout: impl Fn(&Path) -> bool) -> Result<(&str, Option<TagOrDigest>), ReferenceError> {
    let after_drive = match text.as_bytes() {
        [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic() => 2,
        _ => 0,
    };
    let colons = || {
        text.match_indices(':')
            .map(|(at, _)| at)
            .filter(|&at| at >= after_drive)
    };
    let split = colons()
        .find(|&at| is_layout(Path::new(&text[..at])))
        .or_else(|| colons().next().filter(|_| !is_layout(Path::new(text))));
    let Some(split) = split else {
        return Ok((text, None));
    };
    let tag = &text[split + 1..];
    // The `org.opencontainers.image.ref.name` of a layout may be a whole reference (image-spec
    // annotations.md).
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:@/+".contains(&byte);
    if tag.is_empty() || !tag.bytes().all(is_name) {
        return Err(ReferenceError::InvalidTag { tag: tag.to_owned() });
    }
    Ok((&text[..split], Some(TagOrDigest::Tag(tag.to_owned()))))
}

impl fmt::Display for LayoutReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.archived { "oci-archive" } else { "oci" };
        write!(f, "{transport}:{}", self.directory.display())?;
        match &self.selector {
            Some(TagOrDigest::Tag(tag)) => write!(f, ":{tag}"),
            Some(TagOrDigest::Digest(digest)) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_path_is_the_shortest_prefix_that_is_a_layout() {
        let layouts = ["/a:b", "/both", "/both:x", "C:\\x", "D:/y"];
        let parse = |text: &str| {
            let is_layout = |path: &Path| layouts.iter().any(|layout| Path::new(layout) == path);
            let (directory, selector) = split_tag_or_digest(text, is_layout).unwrap();
            let tag = selector.map(|selector| match selector {
                TagOrDigest::Tag(tag) => tag,
                TagOrDigest::Digest(digest) => digest.to_string(),
            });
            (directory.to_owned(), tag)
        };
        for (text, directory, tag) in [
            ("/none", "/none", None),
            ("/none:tag", "/none", Some("tag")),
            ("/none:docker.io/library/x:1", "/none", Some("docker.io/library/x:1")),
            ("/a:b", "/a:b", None),
            ("/a:b:tag", "/a:b", Some("tag")),
            ("/both:x", "/both", Some("x")),
            ("/both:x:y", "/both", Some("x:y")),
            ("C:\\x", "C:\\x", None),
            ("C:\\x:tag", "C:\\x", Some("tag")),
            ("D:/y:tag", "D:/y", Some("tag")),
            ("E:\\none:tag", "E:\\none", Some("tag")),
            ("c:tag", "c", Some("tag")),
            ("/p@ss/x", "/p@ss/x", None),
            ("/p@ss:w/x", "/p@ss", Some("w/x")),
            ("/x@home:latest", "/x@home", Some("latest")),
        ] {
            assert_eq!(parse(text), (directory.to_owned(), tag.map(str::to_owned)), "{text}");
        }
        let (directory, digest) = parse(&format!("/a:b@{DIGEST}"));
        assert_eq!((directory.as_str(), digest.as_deref()), ("/a:b", Some(DIGEST)));
    }
}
