//! References to an image in other local files: `docker-archive:`, `dir:` and `tar:`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ReferenceError;
use super::layout::{TagOrDigest, split_tag_or_digest};
use crate::digest::Digest;

/// An image in files on this machine that are not an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocalReference {
    pub(crate) transport: Transport,
    pub(crate) path: PathBuf,
    pub(crate) selector: Option<ImageSelector>,
}

/// The format of the files, named as skopeo and podman name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    /// `docker-archive:<file>`
    DockerArchive,
    /// `dir:<directory>`
    Directory,
    /// `tar:<file>`, or `tar:-` for standard input
    Tarball,
}

/// Selects an image in the files, or pins it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ImageSelector {
    Digest(Digest),
    Tag(String),
    /// Position in the archive, from 0.
    Index(usize),
}

impl Transport {
    /// All transports of this kind.
    pub(super) const ALL: [Self; 3] = [Self::DockerArchive, Self::Directory, Self::Tarball];

    /// Returns the text before the colon.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DockerArchive => "docker-archive",
            Self::Directory => "dir",
            Self::Tarball => "tar",
        }
    }
}

impl LocalReference {
    /// Parses the text after the transport and its colon.
    pub(super) fn parse(transport: Transport, text: &str) -> Result<Self, ReferenceError> {
        let (path, tag_or_digest) = match transport {
            Transport::DockerArchive => split_tag_or_digest(text, Path::is_file)?,
            // The whole text is the path, except for a digest.
            _ => split_tag_or_digest(text, |path| path == Path::new(text))?,
        };
        if path.is_empty() {
            return Err(ReferenceError::NoPath {
                transport: transport.name(),
            });
        }
        let selector = tag_or_digest.map(|tag_or_digest| match tag_or_digest {
            TagOrDigest::Digest(digest) => ImageSelector::Digest(digest),
            TagOrDigest::Tag(tag) => match tag.strip_prefix('@').map(str::parse) {
                Some(Ok(index)) => ImageSelector::Index(index),
                _ => ImageSelector::Tag(tag),
            },
        });
        Ok(Self {
            transport,
            path: path.into(),
            selector,
        })
    }

    /// Returns a reference to the same files, pinned to `digest`.
    pub(crate) fn pinned(&self, digest: &Digest) -> Self {
        Self {
            selector: Some(ImageSelector::Digest(digest.clone())),
            ..self.clone()
        }
    }
}

impl fmt::Display for LocalReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.name(), self.path.display())?;
        match &self.selector {
            Some(selector @ ImageSelector::Digest(_)) => write!(f, "{selector}"),
            Some(selector) => write!(f, ":{selector}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ImageSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "@{digest}"),
            Self::Tag(tag) => f.write_str(tag),
            Self::Index(index) => write!(f, "@{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reference;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn references_display_as_they_are_parsed() {
        for text in [
            "docker-archive:/x.tar",
            "docker-archive:x.tar:debian:12",
            "docker-archive:x.tar:docker.io/library/debian:12",
            "docker-archive:x.tar:@1",
            "dir:/a:b",
            "dir:x",
            "tar:x.tar.gz",
            "tar:-",
            "oci-archive:x.tar",
            "oci-archive:x.tar:latest",
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), text);
            assert!(!reference.is_pinned(), "{text}");
            let pinned = reference.pinned(&DIGEST.parse().unwrap());
            assert!(pinned.is_pinned());
            assert_eq!(Reference::parse(&pinned.to_string()).unwrap(), pinned, "{pinned}");
        }
        for text in ["docker-archive:", "dir:", "tar:", &format!("tar:@{DIGEST}")] {
            assert!(
                matches!(Reference::parse(text), Err(ReferenceError::NoPath { .. })),
                "{text}"
            );
        }
    }
}
