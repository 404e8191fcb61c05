//! Image references: the transport and location of an image, and which of the images there.
//!
//! A new transport of local files has more places:
//!
//! - `reference/local.rs`: a variant of `Transport`, in `ALL` and `name`, and how `parse` splits
//!   off a tag; `UNSUPPORTED_TRANSPORTS` and the text of `ReferenceError::UnknownTransport` here;
//! - a module with an implementation of `LocalImage`, opened in `Source::open_origin`, and an error
//!   of its own in `error.rs`;
//! - the help of `--image` in `src/cli/arguments.rs`, from which the man page and the completions
//!   are generated, the table in `README.md`, and the list in `oci/README.md`;
//! - tests in `tests/sources/archives.rs` and `documents.rs`, and a seed in
//!   `fuzz/examples/seeds.rs`.
//!
//! A transport that is neither files nor a registry also takes a variant of [`Reference`], with its
//! parsing and `Display` here, a variant of `Origin` in `source.rs`, `Source::is_local`, and the
//! matches on [`Reference`] in `src/rootfs.rs` and `src/cli/arguments.rs`.

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

/// Transports of other tools (containers-transports(5)), which are refused by name: `ostree:x` is
/// not a tag of an image `ostree`.
const UNSUPPORTED_TRANSPORTS: [&str; 6] = [
    "docker-daemon",
    "containers-storage",
    "ostree",
    "sif",
    "atomic",
    "tarball",
];

/// Returns whether a word before a colon names a transport, so that the word is not the host of a
/// registry.
fn is_transport_name(word: &str) -> bool {
    let own = Transport::ALL.into_iter().map(Transport::name);
    own.chain(["oci", "oci-archive"])
        .chain(UNSUPPORTED_TRANSPORTS)
        .any(|name| name == word)
}

/// The location of an image, and its tag or digest.
///
/// Displays in canonical form: with the registry, and with `docker://` only if the host has the
/// name of another transport.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reference {
    /// An image in an OCI image layout: `oci:<dir>[:<tag>|@<digest>]`, or `oci-archive:<file>` for
    /// a tar of a layout.
    Layout(LayoutReference),
    /// An image in other files: `docker-archive:<file>[:<tag>|:@<position>|@<digest>]`,
    /// `dir:<dir>[@<digest>]`, or `tar:<file>[@<digest>]` for a tar of a root file system, which is
    /// standard input if `<file>` is `-`.
    Local(LocalReference),
    /// An image in a registry: `[docker://]host[:port]/repository[:tag|@digest]`, or a short name
    /// of Docker Hub.
    Registry(RegistryReference),
}

impl Reference {
    /// Parses a reference as the command line takes it.
    ///
    /// Reads the file system only to find where the directory or file ends and the tag begins: of
    /// all readings of `oci:a:b:c`, the shortest path that is a layout wins. If none is, the path
    /// ends before the first colon.
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

    /// Returns whether the reference names a digest, so that it always means the same bytes.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        match self {
            Self::Layout(layout) => matches!(layout.selector, Some(TagOrDigest::Digest(_))),
            Self::Local(local) => matches!(local.selector, Some(ImageSelector::Digest(_))),
            Self::Registry(registry) => registry.digest.is_some(),
        }
    }

    /// Returns a reference to the same location, pinned to `digest`.
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

/// Parses a reference like [`Reference::parse`].
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

/// A text that is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The text is empty.
    #[error("an image reference cannot be empty")]
    Empty,
    /// The transport is unknown or not supported.
    #[error(
        "transport {transport:?} is not supported: docker://<registry>/<repository>, oci:<directory>, oci-archive:<file>, \
         docker-archive:<file>, dir:<directory> and tar:<file> are"
    )]
    UnknownTransport {
        /// The transport, with its colon.
        transport: String,
    },
    /// The text is a path without a transport.
    #[error(
        "{path:?} is a path without a transport: write oci:<directory> for an OCI image layout, oci-archive:<file> for an archive"
    )]
    Path {
        /// The text.
        path: String,
    },
    /// The transport `oci:` lacks a directory.
    #[error("oci: needs a directory: oci:<directory>[:<tag>|@<digest>]")]
    NoDirectory,
    /// Another transport lacks a path.
    #[error("{transport}: needs a path")]
    NoPath {
        /// The transport, without its colon.
        transport: &'static str,
    },
    /// The host or the port is invalid.
    #[error("{registry:?} is not a valid registry: expected <host>[:<port>]")]
    InvalidRegistry {
        /// Host and port, as given.
        registry: String,
    },
    /// The repository has upper case letters, which registries refuse.
    #[error("repository {repository:?} must be in lower case")]
    UppercaseRepository {
        /// The repository.
        repository: String,
    },
    /// The repository has characters other than a-z, 0-9 and single separators.
    #[error(
        "{repository:?} is not a valid repository: words of a-z and 0-9, joined by '.', '_', '__' or '-', between slashes"
    )]
    InvalidRepository {
        /// The repository.
        repository: String,
    },
    /// The repository name is too long.
    #[error("the repository name has {len} bytes: at most {MAX_REPOSITORY_LEN} are allowed")]
    RepositoryTooLong {
        /// Length of the name in bytes.
        len: usize,
    },
    /// The tag has characters that tags cannot have, or is too long.
    #[error("{tag:?} is not a valid tag: up to 128 of A-Z a-z 0-9 _ . -, not starting with '.' or '-'")]
    InvalidTag {
        /// The text after the colon.
        tag: String,
    },
    /// The text after the `@` is not a digest.
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
    fn invalid_references_are_errors_by_their_fault() {
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
