//! The HTTP client: its timeouts, proxies and certificates.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use reqwest::{Certificate, Client, ClientBuilder, redirect};

use super::RegistryError;
use super::http::Timeouts;

/// What a client is made of.
pub(super) struct ClientOptions<'a> {
    pub(super) timeouts: Timeouts,
    pub(super) is_loopback: bool,
    pub(super) is_plain: bool,
    pub(super) certificates: &'a [Certificate],
    pub(super) accept_any_certificate: bool,
}

impl ClientOptions<'_> {
    pub(super) fn build(&self, redirects: redirect::Policy) -> Result<Client, RegistryError> {
        // An error only says that there is a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = ClientBuilder::new()
            .user_agent(concat!("microagent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.timeouts.connect)
            .read_timeout(self.timeouts.read)
            .referer(false)
            .redirect(redirects)
            .tls_danger_accept_invalid_certs(self.accept_any_certificate);
        if self.is_loopback {
            builder = builder.no_proxy();
        }
        if self.is_plain && !has_authorities() {
            // A machine without CA certificates can still speak plain HTTP.
            builder = builder.tls_certs_only(self.certificates.iter().cloned());
        } else {
            builder = builder.tls_certs_merge(self.certificates.iter().cloned());
        }
        builder.build().map_err(RegistryError::Setup)
    }
}

/// Whether TLS can be set up with the certificates of this machine.
fn has_authorities() -> bool {
    static HAS_AUTHORITIES: OnceLock<bool> = OnceLock::new();
    *HAS_AUTHORITIES.get_or_init(|| ClientBuilder::new().build().is_ok())
}

/// The certificates in a PEM file.
pub(super) fn authorities(path: &Path) -> Result<Vec<Certificate>, RegistryError> {
    let pem = fs::read(path).map_err(|source| RegistryError::CaFile {
        path: path.to_owned(),
        source,
    })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(RegistryError::CaFormat { path: path.to_owned() }),
    }
}
