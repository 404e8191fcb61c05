//! References to an image in a registry: the grammar of distribution-spec, "Pulling manifests",
//! with Docker's defaults.

use std::fmt;
use std::net::Ipv6Addr;

use super::{ReferenceError, is_transport_name};
use crate::digest::Digest;

/// Limit in bytes on a repository name, in Docker and registries.
pub(super) const MAX_REPOSITORY_LEN: usize = 255;

/// Docker Hub in canonical references. Its API has another host, and `docker login` stores its
/// credentials under a third.
const DOCKER_HUB: &str = "docker.io";

/// An image in a registry. A digest takes precedence over a tag, which then only informs, as in
/// Docker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryReference {
    /// Host with or without port, in lower case; `docker.io` for Docker Hub.
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<Digest>,
}

impl RegistryReference {
    /// Parses a reference without a transport. Without tag and digest, the tag is `latest`.
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (name, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((host, repository)) if is_host(host) => (canonical_host(host), repository.to_owned()),
            _ => (DOCKER_HUB.to_owned(), path.to_owned()),
        };
        check_host(&registry)?;
        let repository = if registry == DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        check_repository(&repository)?;
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::InvalidTag { tag: tag.to_owned() });
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

/// Returns the canonical name of a registry: lower case, and `docker.io` for every name of Docker
/// Hub.
pub(crate) fn canonical_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        _ => host,
    }
}

/// Returns whether `host`, without a port, is `localhost` or an address of the loopback interface.
#[cfg(feature = "registry")]
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Returns whether the first component of a name is a host: by Docker's rule, if it could not be
/// the name of a Docker Hub user.
pub(crate) fn is_host(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':'])
}

/// Returns the host of a registry, without its port.
#[cfg(feature = "registry")]
pub(crate) fn host_of(registry: &str) -> &str {
    split_port(registry).0
}

/// Splits a registry into host and port. The colons of an IPv6 address are part of the host.
fn split_port(registry: &str) -> (&str, Option<&str>) {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    }
}

/// Checks that a registry is a host name, an IPv4 address or an IPv6 address in brackets, with an
/// optional port.
fn check_host(registry: &str) -> Result<(), ReferenceError> {
    let (host, port) = split_port(registry);
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_ipv6 = |host: &str| {
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
    };
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if fits_in_url(registry) && (is_ipv6(host) || host.split('.').all(is_label)) && port.is_none_or(is_port) {
        return Ok(());
    }
    Err(ReferenceError::InvalidRegistry {
        registry: registry.to_owned(),
    })
}

/// Returns whether a URL can contain the registry, which excludes `1.2.3.256` and `xn--a`.
#[cfg(feature = "registry")]
fn fits_in_url(registry: &str) -> bool {
    reqwest::Url::parse(&format!("https://{registry}")).is_ok()
}

/// Accepts any registry: only requests need URLs.
#[cfg(not(feature = "registry"))]
fn fits_in_url(_: &str) -> bool {
    true
}

/// Checks a repository name by the grammar of distribution-spec, "Pulling manifests": runs of
/// `[a-z0-9]` joined by `.`, `_`, `__` or hyphens.
fn check_repository(repository: &str) -> Result<(), ReferenceError> {
    if repository.len() > MAX_REPOSITORY_LEN {
        return Err(ReferenceError::RepositoryTooLong { len: repository.len() });
    }
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::UppercaseRepository {
            repository: repository.to_owned(),
        });
    }
    let is_alphanumeric = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let is_component = |component: &str| {
        component.starts_with(is_alphanumeric)
            && component.ends_with(is_alphanumeric)
            && component
                .split(is_alphanumeric)
                .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
    };
    if repository.split('/').all(is_component) {
        return Ok(());
    }
    Err(ReferenceError::InvalidRepository {
        repository: repository.to_owned(),
    })
}

/// Returns whether a text is a valid tag.
fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self
            .registry
            .split_once(':')
            .is_some_and(|(host, _)| is_transport_name(host))
        {
            f.write_str("docker://")?;
        }
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "registry")]
mod tests {
    use super::*;
    use crate::Reference;

    #[test]
    fn host_with_the_name_of_a_transport_stays_a_host() {
        for (text, canonical) in [
            ("docker://oci:1/n", "docker://oci:1/n:latest"),
            ("ocI:1/n", "docker://oci:1/n:latest"),
            ("Docker-Archive:80/n:1", "docker://docker-archive:80/n:1"),
            ("TAR:80/n:1", "docker://tar:80/n:1"),
            ("Ostree:80/n:1", "docker://ostree:80/n:1"),
            ("oci.example:1/n:2", "oci.example:1/n:2"),
            ("docker://tar", "docker.io/library/tar:latest"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert!(matches!(reference, Reference::Registry(_)), "{text}");
            assert_eq!(reference.to_string(), canonical, "{text}");
            assert_eq!(Reference::parse(canonical).unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn loopback_hosts_are_recognized() {
        let is_loopback = |text| is_loopback(host_of(&RegistryReference::parse(text).unwrap().registry));
        for text in [
            "localhost/a",
            "localhost:5000/a",
            "127.0.0.1:5000/a",
            "127.1.2.3/a",
            "[::1]:5000/a",
            "[::1]/a",
        ] {
            assert!(is_loopback(text), "{text}");
        }
        for text in [
            "a",
            "localhost.example.com/a",
            "128.0.0.1:5000/a",
            "10.0.0.1/a",
            "[::2]/a",
            "127.0.0.1.nip.io/a",
        ] {
            assert!(!is_loopback(text), "{text}");
        }
    }
}
