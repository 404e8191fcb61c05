//! The HTTP client: its timeouts, proxies and certificates.

use std::fs;
use std::path::Path;

use reqwest::{Certificate, Client, ClientBuilder, redirect};

use super::RegistryError;
use super::http::Timeouts;

/// What a client is made of. To make one reads all certificates of the system, which takes milliseconds.
#[derive(Clone)]
pub(super) struct ClientOptions {
    pub(super) timeouts: Timeouts,
    pub(super) is_loopback: bool,
    pub(super) is_plain: bool,
    pub(super) certificates: Vec<Certificate>,
    pub(super) accept_any_certificate: bool,
}

/// Has rustls use ring's cryptography, which a client needs before it is made.
pub(super) fn install_provider() {
    // Fails where a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl ClientOptions {
    /// A client that follows no redirects: they could carry credentials away.
    pub(super) fn build(&self) -> Result<Client, RegistryError> {
        install_provider();
        let builder = || {
            let builder = ClientBuilder::new()
                .user_agent(concat!("microagent/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(self.timeouts.connect)
                .read_timeout(self.timeouts.read)
                .referer(false)
                .redirect(redirect::Policy::none())
                .tls_danger_accept_invalid_certs(self.accept_any_certificate);
            if self.is_loopback { builder.no_proxy() } else { builder }
        };
        let certificates = || self.certificates.iter().cloned();
        match builder().tls_certs_merge(certificates()).build() {
            // A machine without CA certificates can still speak plain HTTP.
            Err(_) if self.is_plain => builder().tls_certs_only(certificates()).build(),
            client => client,
        }
        .map_err(RegistryError::Setup)
    }
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
