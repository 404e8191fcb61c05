//! Image references: where an image is, and which of the images there.

mod layout;
mod local;
mod registry;

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, ParseDigestError};

pub use layout::LayoutReference;
pub(super) use layout::TagOrDigest;
pub use local::LocalReference;
pub(super) use local::{ImageSelector, Transport};
use registry::MAX_REPOSITORY_LEN;
pub use registry::RegistryReference;
#[cfg(feature = "registry")]
pub(super) use registry::{canonical_host, host_of, is_host, is_loopback};

/// Transports of other tools (containers-transports(5)), refused by name: `ostree:x` is no tag of an image `ostree`.
const UNSUPPORTED_TRANSPORTS: [&str; 6] = [
    "docker-daemon",
    "containers-storage",
    "ostree",
    "sif",
    "atomic",
    "tarball",
];

/// Returns whether what follows this word and a colon is not the port of a registry.
fn is_transport_name(word: &str) -> bool {
    let own = Transport::ALL.into_iter().map(Transport::name);
    own.chain(["oci", "oci-archive"])
        .chain(UNSUPPORTED_TRANSPORTS)
        .any(|name| name == word)
}

/// Where an image is.
///
/// Displayed in canonical form: with its registry, and with `docker://` only if its host is the
/// name of another transport.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reference {
    /// In an OCI image layout: `oci:<dir>[:<tag>|@<digest>]`, or `oci-archive:<file>` for a tar of one.
    Layout(LayoutReference),
    /// In other files: `docker-archive:<file>[:<tag>|:@<position>|@<digest>]`, `dir:<dir>[@<digest>]`, or
    /// `tar:<file>[@<digest>]` for a tar of a root file system, which is on standard input if it is `-`.
    Local(LocalReference),
    /// In a registry: `[docker://]host[:port]/repository[:tag|@digest]`, or a short name of Docker Hub.
    Registry(RegistryReference),
}

impl Reference {
    /// Reads a reference as the command line takes it.
    ///
    /// Looks at the file system only to tell a directory name with a colon from one with a tag: of all readings of
    /// `oci:a:b:c`, the shortest directory that is an OCI layout wins, and without any the part before the first colon.
    ///
    /// # Errors
    ///
    /// [`ReferenceError`], by what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let unknown = |transport: &str| {
            Err(ReferenceError::UnknownTransport {
                transport: transport.to_owned(),
            })
        };
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some(rest) = text.strip_prefix("oci:").filter(|rest| !rest.starts_with("//")) {
            return LayoutReference::parse(rest, false).map(Self::Layout);
        }
        if let Some((name, rest)) = text.split_once(':') {
            if name == "oci-archive" {
                return LayoutReference::parse(rest, true).map(Self::Layout);
            }
            if let Some(transport) = Transport::ALL.into_iter().find(|transport| transport.name() == name) {
                return LocalReference::parse(transport, rest).map(Self::Local);
            }
        }
        let name = text.strip_prefix("docker://").unwrap_or(text);
        if let Some((scheme, _)) = name.split_once("://") {
            return unknown(&format!("{scheme}://"));
        }
        if let Some((transport, _)) = text
            .split_once(':')
            .filter(|(name, _)| UNSUPPORTED_TRANSPORTS.contains(name))
        {
            return unknown(&format!("{transport}:"));
        }
        if name.starts_with(['.', '/', '\\', '~']) {
            return Err(ReferenceError::Path { path: name.to_owned() });
        }
        RegistryReference::parse(name).map(Self::Registry)
    }

    /// Whether the reference names a digest, so that it can only ever mean the same bytes.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        match self {
            Self::Layout(layout) => matches!(layout.selector, Some(TagOrDigest::Digest(_))),
            Self::Local(local) => matches!(local.selector, Some(ImageSelector::Digest(_))),
            Self::Registry(registry) => registry.digest.is_some(),
        }
    }

    /// The same place, pinned to `digest`.
    #[must_use]
    pub(super) fn pinned(&self, digest: &Digest) -> Self {
        match self.clone() {
            Self::Layout(layout) => Self::Layout(LayoutReference {
                selector: Some(TagOrDigest::Digest(digest.clone())),
                ..layout
            }),
            Self::Local(local) => Self::Local(local.pinned(digest)),
            Self::Registry(registry) => Self::Registry(RegistryReference {
                tag: None,
                digest: Some(digest.clone()),
                ..registry
            }),
        }
    }
}

/// Reads a reference, as [`Reference::parse`] does.
impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(layout) => layout.fmt(f),
            Self::Local(local) => local.fmt(f),
            Self::Registry(registry) => registry.fmt(f),
        }
    }
}

/// A text that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing at all.
    #[error("an image reference cannot be empty")]
    Empty,
    /// A prefix that says where the image is, but none that this program knows.
    #[error(
        "transport {transport:?} is not supported: docker://<registry>/<repository>, oci:<directory>, oci-archive:<file>, \
         docker-archive:<file>, dir:<directory> and tar:<file> are"
    )]
    UnknownTransport {
        /// The prefix, with its colon.
        transport: String,
    },
    /// A path without a transport.
    #[error(
        "{path:?} is a path: an OCI image layout directory is written oci:<directory>, an archive oci-archive:<file>"
    )]
    Path {
        /// The text.
        path: String,
    },
    /// `oci:` without a directory.
    #[error("oci: needs a directory: oci:<directory>[:<tag>|@<digest>]")]
    NoDirectory,
    /// Another transport without a path.
    #[error("{transport}: needs a path")]
    NoPath {
        /// The transport, without its colon.
        transport: &'static str,
    },
    /// A host or a port that cannot be.
    #[error("{registry:?} is no registry: <host>[:<port>]")]
    InvalidRegistry {
        /// Host and port as given.
        registry: String,
    },
    /// A repository name with upper case letters, which no registry accepts.
    #[error("repository {repository:?} must be in lower case")]
    UppercaseRepository {
        /// The repository.
        repository: String,
    },
    /// A repository name with other characters than a-z, 0-9 and single separators.
    #[error("{repository:?} is no repository: words of a-z and 0-9, joined by '.', '_', '__' or '-', between slashes")]
    InvalidRepository {
        /// The repository.
        repository: String,
    },
    /// A repository name that is too long.
    #[error("a repository name of {len} bytes: at most {MAX_REPOSITORY_LEN} are allowed")]
    RepositoryTooLong {
        /// Length of the name in bytes.
        len: usize,
    },
    /// A tag with characters that tags cannot have.
    #[error("{tag:?} is no tag: up to 128 of A-Z a-z 0-9 _ . -, not starting with '.' or '-'")]
    InvalidTag {
        /// The text after the colon.
        tag: String,
    },
    /// What follows the `@` is no digest.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn error(text: &str) -> ReferenceError {
        Reference::parse(text).unwrap_err()
    }

    #[test]
    fn registry_references_have_a_canonical_form() {
        for (given, canonical) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("user/name", "docker.io/user/name:latest"),
            ("a/b/c", "docker.io/a/b/c:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("index.docker.io/library/debian", "docker.io/library/debian:latest"),
            ("registry-1.docker.io/library/debian", "docker.io/library/debian:latest"),
            ("Registry-1.Docker.io/debian:12", "docker.io/library/debian:12"),
            ("INDEX.docker.io/user/name", "docker.io/user/name:latest"),
            ("registry.hub.docker.com/a/b", "registry.hub.docker.com/a/b:latest"),
            ("docker://debian", "docker.io/library/debian:latest"),
            ("docker://ghcr.io/a/b:v1.0_x-y", "ghcr.io/a/b:v1.0_x-y"),
            ("GHCR.io/a/b", "ghcr.io/a/b:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("localhost:5000", "docker.io/library/localhost:5000"),
            ("127.0.0.1:5000/rig/base:latest", "127.0.0.1:5000/rig/base:latest"),
            ("[::1]:5000/a/b:1", "[::1]:5000/a/b:1"),
            ("[::1]/a", "[::1]/a:latest"),
            ("a.b/x__y/z---w.v_u", "a.b/x__y/z---w.v_u:latest"),
            ("oci", "docker.io/library/oci:latest"),
            ("dir/x:1", "docker.io/dir/x:1"),
        ] {
            assert_eq!(Reference::parse(given).unwrap().to_string(), canonical, "{given}");
            assert!(!Reference::parse(given).unwrap().is_pinned(), "{given}");
            assert_eq!(Reference::parse(canonical).unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn a_digest_pins_with_or_without_a_tag() {
        for (given, canonical) in [
            (format!("debian@{DIGEST}"), format!("docker.io/library/debian@{DIGEST}")),
            (
                format!("debian:12@{DIGEST}"),
                format!("docker.io/library/debian:12@{DIGEST}"),
            ),
            (format!("oci:x@{DIGEST}"), format!("oci:x@{DIGEST}")),
        ] {
            let reference = Reference::parse(&given).unwrap();
            assert!(reference.is_pinned(), "{given}");
            assert_eq!(reference.to_string(), canonical);
        }
        let pinned = Reference::parse("debian:12").unwrap().pinned(&DIGEST.parse().unwrap());
        assert_eq!(pinned.to_string(), format!("docker.io/library/debian@{DIGEST}"));
        let pinned = Reference::parse("oci:/x:12").unwrap().pinned(&DIGEST.parse().unwrap());
        assert_eq!(pinned.to_string(), format!("oci:/x@{DIGEST}"));
    }

    #[test]
    fn what_is_no_reference_says_why() {
        assert_eq!(error(""), ReferenceError::Empty);
        for (text, transport) in [
            ("https://ghcr.io/a/b", "https://"),
            ("oci://ghcr.io/a/b", "oci://"),
            ("docker-daemon:x", "docker-daemon:"),
            ("containers-storage:x", "containers-storage:"),
        ] {
            assert_eq!(
                error(text),
                ReferenceError::UnknownTransport {
                    transport: transport.to_owned()
                }
            );
        }
        for path in ["./image", "/image", "~/image", ".\\image"] {
            assert_eq!(error(path), ReferenceError::Path { path: path.to_owned() });
        }
        for text in ["ghcr.io/Foo", "Debian", "User/name", "docker.io/A"] {
            assert!(
                matches!(error(text), ReferenceError::UppercaseRepository { .. }),
                "{text}"
            );
        }
        for text in [
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a//b",
            "ghcr.io/",
            "a/",
            "a b",
            "ä",
            "ghcr.io/a/.b",
            ":12",
            "a?b",
        ] {
            assert!(
                matches!(error(text), ReferenceError::InvalidRepository { .. }),
                "{text}: {:?}",
                error(text)
            );
        }
        for text in [
            "a.b:0/x",
            "a.b:65536/x",
            "a.b:+80/x",
            "a.b:/x",
            "a..b/x",
            "-a.b/x",
            "a_b.c/x",
            "[::1/x",
            "u@h.x/y",
            "::1/x",
            #[cfg(feature = "registry")]
            "1.2.3.256/x",
            #[cfg(feature = "registry")]
            "xn--a.b/x",
        ] {
            let error = error(text);
            assert!(
                matches!(
                    error,
                    ReferenceError::InvalidRegistry { .. } | ReferenceError::Digest(_)
                ),
                "{text}: {error:?}"
            );
        }
        for text in ["a:", "a:.x", "a:x+y", &format!("a:{}", "x".repeat(129))] {
            assert!(matches!(error(text), ReferenceError::InvalidTag { .. }), "{text}");
        }
        assert_eq!(error(&"a".repeat(250)), ReferenceError::RepositoryTooLong { len: 258 });
        for text in [
            "a@",
            "a@sha256:12",
            "a@sha512:12",
            "a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "oci:x@sha256:12",
        ] {
            assert!(matches!(error(text), ReferenceError::Digest(_)), "{text}");
        }
        for text in ["oci:", "oci::tag", &format!("oci:@{DIGEST}")] {
            assert_eq!(error(text), ReferenceError::NoDirectory, "{text}");
        }
    }
}
