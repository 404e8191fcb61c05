//! How to speak to registries.

use std::path::PathBuf;

use tracing::debug;

use crate::auth::{AuthError, AuthFiles, Credentials, FoundCredentials};
use crate::helper::Helper;
use crate::reference::RegistryReference;

/// How to speak to registries: with which credentials, and how they prove who they are.
///
/// The default has no credentials and trusts the certificates of the system.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// Credentials for the registry of the reference, in place of those in files.
    pub credentials: Option<Credentials>,
    /// Where credentials are.
    pub auth_files: AuthFiles,
    /// A PEM file with certificates that are trusted besides those of the system: of authorities,
    /// or of registries themselves.
    pub tls_ca: Option<PathBuf>,
    /// Whether any certificate is accepted, so that anyone between may read and change what is sent, credentials
    /// included.
    pub accept_any_certificate: bool,
    /// Whether registries are spoken to in plain HTTP. Without a word, those on this machine are, unless something is
    /// said of certificates.
    pub plain_http: Option<bool>,
}

impl RegistryOptions {
    /// Finds the credentials for a repository.
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
        if let Some(Helper { name, file }) = found.helper.as_ref().filter(|_| found.credentials.is_none()) {
            debug!(registry, name, file = %file.display(), "asks no credential helper");
        }
        Ok(found)
    }

    /// Whether a registry is spoken to in plain HTTP.
    pub(super) fn is_plain(&self, is_loopback: bool) -> bool {
        let wants_tls = self.tls_ca.is_some() || self.accept_any_certificate;
        self.plain_http.unwrap_or(is_loopback && !wants_tls)
    }
}
