//! Construction of the HTTP client: timeouts, proxies and certificates.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::RegistryError;
use super::proxies::Proxies;
use super::resolver::SystemResolver;
use super::tls::{client_config, unverified_config};
use crate::host::open_file;

/// Limit on a file with certificates, in bytes. The certificates of all public authorities take 300
/// KiB.
const MAX_CA_LEN: u64 = 16 << 20;

/// Limits on waiting, and delays.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// Limit on the time to connect.
    pub(super) connect: Duration,
    /// Limit on the time until the next byte.
    pub(super) read: Duration,
    /// Limit on the time for a whole document or token.
    pub(super) document: Duration,
    /// Limit on the time for each 64 KiB of a blob.
    pub(super) per_64_kib: Duration,
    /// Wait after the first transient error.
    pub(super) backoff: Duration,
    /// Wait for a server, or for another build with a lock, before the wait is reported.
    pub(super) notice: Duration,
    /// Limit on the wait for another build that holds a lock and downloads nothing.
    pub(super) lock_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            document: Duration::from_mins(1),
            per_64_kib: Duration::from_mins(1),
            backoff: Duration::from_millis(400),
            notice: Duration::from_secs(3),
            lock_idle: Duration::from_mins(10),
        }
    }
}

/// Options of an HTTP client. Building the client reads all certificates of the system, which takes
/// milliseconds.
#[derive(Clone)]
pub(super) struct ClientOptions {
    pub(super) timeouts: Timeouts,
    pub(super) proxies: Proxies,
    pub(super) plain_http: bool,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) accept_any_certificate: bool,
}

impl ClientOptions {
    /// Builds the client. It follows no redirects, which could send credentials to another host.
    pub(super) fn build(&self) -> Result<Client, RegistryError> {
        check_ssl_cert_file()?;
        let tls = if self.accept_any_certificate {
            Ok(unverified_config())
        } else {
            client_config(&self.certificates, self.plain_http)
        };
        ClientBuilder::new()
            .tls_backend_preconfigured(tls.map_err(|error| RegistryError::Setup(error.into()))?)
            .user_agent(concat!("microagent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.timeouts.connect)
            .read_timeout(self.timeouts.read)
            .referer(false)
            .dns_resolver(SystemResolver)
            .redirect(redirect::Policy::none())
            .proxy(self.proxies.rule())
            .build()
            .map_err(|error| RegistryError::Setup(error.into()))
    }
}

/// Reads the certificates in a PEM file. Skips certificates that cannot be parsed.
///
/// # Errors
///
/// [`RegistryError::CaFormat`] if the file has no certificate that can be parsed;
/// [`RegistryError::CaFile`] and [`RegistryError::CaTooLarge`].
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let mut pem = Vec::new();
    let read = open_ca_file(path)?.take(MAX_CA_LEN).read_to_end(&mut pem);
    read.map_err(|source| ca_file_error(path, source))?;
    let not_pem = || RegistryError::CaFormat { path: path.to_owned() };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let mut certificates = certificates.map_err(|_| not_pem())?;
    certificates.retain(|certificate| webpki::anchor_from_trusted_cert(certificate).is_ok());
    if certificates.is_empty() {
        return Err(not_pem());
    }
    Ok(certificates)
}

/// Refuses a file in `SSL_CERT_FILE` on which the certificate library would block, or which it
/// would read without end.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn check_ssl_cert_file() -> Result<(), RegistryError> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE") else {
        return Ok(());
    };
    let path = Path::new(&path);
    // `/dev/null` and a missing file are accepted, since plain HTTP needs no certificates.
    if path == Path::new("/dev/null") || !path.exists() {
        return Ok(());
    }
    open_ca_file(path).map(drop)
}

/// Accepts every setting: this system does not read `SSL_CERT_FILE`.
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
#[expect(clippy::unnecessary_wraps, reason = "some systems have such a file")]
fn check_ssl_cert_file() -> Result<(), RegistryError> {
    Ok(())
}

fn open_ca_file(path: &Path) -> Result<File, RegistryError> {
    let open = || {
        let file = open_file(path)?;
        let len = file.metadata()?.len();
        Ok((file, len))
    };
    match open() {
        Ok((file, 0..=MAX_CA_LEN)) => Ok(file),
        Ok(_) => Err(RegistryError::CaTooLarge {
            path: path.to_owned(),
            max: MAX_CA_LEN,
        }),
        Err(source) => Err(ca_file_error(path, source)),
    }
}

fn ca_file_error(path: &Path, source: io::Error) -> RegistryError {
    RegistryError::CaFile {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_installs_no_crypto_provider_for_the_process() {
        for accept_any_certificate in [false, true] {
            let options = ClientOptions {
                timeouts: Timeouts::default(),
                proxies: Proxies::default(),
                plain_http: true,
                certificates: Vec::new(),
                accept_any_certificate,
            };
            options.build().unwrap();
        }
        assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    }

    #[test]
    fn file_without_certificates() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (len, is_too_large) in [(0, false), (MAX_CA_LEN, false), (MAX_CA_LEN + 1, true)] {
            file.as_file().set_len(len).unwrap();
            let error = read_certificates(file.path()).unwrap_err();
            let was_too_large = matches!(error, RegistryError::CaTooLarge { .. });
            assert_eq!(was_too_large, is_too_large, "{len}: {error}");
            assert!(
                was_too_large || matches!(error, RegistryError::CaFormat { .. }),
                "{error}"
            );
        }
        let nowhere = file.path().with_extension("none");
        assert!(matches!(read_certificates(&nowhere), Err(RegistryError::CaFile { .. })));
    }
}
