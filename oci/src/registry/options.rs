//! Options for access to registries.

use std::path::PathBuf;

use tracing::debug;

use crate::auth::{AuthError, AuthFiles, Credentials, FoundCredentials};
use crate::credential_helper::CredentialHelper;
use crate::reference::RegistryReference;

/// Options for access to registries: credentials, certificates and plain HTTP.
///
/// The default has no credentials, and trusts the certificates of the system.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// Credentials for the registry of the reference. Files are then not read.
    pub credentials: Option<Credentials>,
    /// Files in which credentials are looked up.
    pub auth_files: AuthFiles,
    /// A PEM file with certificates, of authorities or of registries themselves, that are trusted
    /// in addition to those of the system.
    pub tls_ca: Option<PathBuf>,
    /// Set to accept any certificate. Anyone on the network path can then read and change the
    /// traffic, including credentials.
    pub accept_any_certificate: bool,
    /// Set to `true` to use plain HTTP, or to `false` to use TLS. With `None`, plain HTTP is used
    /// for a registry on this machine, unless `tls_ca` or `accept_any_certificate` is set, and TLS
    /// for all others.
    pub plain_http: Option<bool>,
}

impl RegistryOptions {
    /// Looks up the credentials for a repository.
    pub(super) fn find_credentials(&self, image: &RegistryReference) -> Result<FoundCredentials, AuthError> {
        let found = match &self.credentials {
            Some(credentials) => Ok(FoundCredentials {
                credentials: Some((credentials.method().clone(), PathBuf::new())),
                helper: None,
            }),
            None => self.auth_files.find(image),
        }?;
        let registry = image.registry.as_str();
        match &found.credentials {
            None => debug!(registry, "has no credentials"),
            Some((_, file)) if file.as_os_str().is_empty() => debug!(registry, "has credentials of the caller"),
            Some((_, file)) => debug!(registry, file = %file.display(), "has credentials"),
        }
        if let Some(CredentialHelper { name, file }) = found.helper.as_ref().filter(|_| found.credentials.is_none()) {
            debug!(registry, name, file = %file.display(), "asks no credential helper");
        }
        Ok(found)
    }

    /// Returns whether plain HTTP is used for a registry.
    pub(super) fn is_plain(&self, is_loopback: bool) -> bool {
        let wants_tls = self.tls_ca.is_some() || self.accept_any_certificate;
        self.plain_http.unwrap_or(is_loopback && !wants_tls)
    }
}
