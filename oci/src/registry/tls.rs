//! TLS configurations: which server certificates are trusted.
//!
//! [`error`] holds the reasons why a connection fails, with their hints, and [`certificate`] reads
//! from certificates what the errors name: keys, hosts and issuers.

mod certificate;
mod error;

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tracing::{Level, debug};
use webpki::{EndEntityCert, InvalidNameContext, KeyUsage};

use certificate::{host_name, is_issuer, last_issuer, unsupported_key};
pub use error::{CertificateOwner, TlsError};
use error::{expired, not_valid_yet};

/// Makes the TLS configuration of a client that trusts the system's authorities and the `named`
/// certificates. Fails without any of them, unless `is_plain` is set: plain HTTP needs no
/// certificates.
pub(super) fn client_config(named: &[CertificateDer<'static>], is_plain: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = match named {
        [] => Verifier::new(Arc::clone(&provider)),
        named => Verifier::new_with_extra_roots(named.iter().cloned(), Arc::clone(&provider)),
    };
    let authorities = match verifier {
        Ok(authorities) => Some(authorities),
        Err(_) if is_plain => None,
        Err(error) => return Err(error),
    };
    if tracing::enabled!(Level::DEBUG) {
        let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter();
        let from: Vec<_> = variables.filter(|name| std::env::var_os(name).is_some()).collect();
        let from = if from.is_empty() {
            "the system".to_owned()
        } else {
            from.join(" and ")
        };
        debug!(
            certificates = installed().len(),
            from,
            named = named.len(),
            "trusts authorities"
        );
    }
    let servers = TrustedServers {
        authorities,
        named: named.to_vec(),
        algorithms: provider.signature_verification_algorithms,
    };
    Ok(config_with(provider, Arc::new(servers)))
}

/// Makes the TLS configuration of a client that accepts any certificate.
pub(super) fn unverified_config() -> ClientConfig {
    config_with(Arc::new(ring::default_provider()), Arc::new(AnyServer))
}

/// Makes a configuration with the given cryptography, and not with that which the process may have
/// installed.
fn config_with(provider: Arc<CryptoProvider>, verifier: Arc<dyn ServerCertVerifier>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Verifier that trusts every server, whatever its certificate and its signature.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme as Scheme;
        vec![
            Scheme::RSA_PKCS1_SHA1,
            Scheme::ECDSA_SHA1_Legacy,
            Scheme::RSA_PKCS1_SHA256,
            Scheme::ECDSA_NISTP256_SHA256,
            Scheme::RSA_PKCS1_SHA384,
            Scheme::ECDSA_NISTP384_SHA384,
            Scheme::RSA_PKCS1_SHA512,
            Scheme::ECDSA_NISTP521_SHA512,
            Scheme::RSA_PSS_SHA256,
            Scheme::RSA_PSS_SHA384,
            Scheme::RSA_PSS_SHA512,
            Scheme::ED25519,
            Scheme::ED448,
        ]
    }
}

/// Verifier that trusts a server whose certificate is from an authority of the system or of the
/// user, and a server whose own certificate the user named or installed.
///
/// As in Go and OpenSSL, a named certificate needs no trusted authority, but must be valid for the
/// host and at this time.
#[derive(Debug)]
struct TrustedServers {
    /// Verifier with the trusted authorities; `None` on a machine without any.
    authorities: Option<Verifier>,
    named: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for TrustedServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = match &self.authorities {
            Some(authorities) => authorities.verify_server_cert(end_entity, intermediates, host, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let checked = check_key(end_entity).and_then(|()| match verdict {
            Ok(_) => Ok(()),
            Err(error) => self.accept_named(&error, end_entity, intermediates, host, now),
        });
        match checked {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(CertificateError::Other(OtherError(Arc::new(error))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        // If P-521 were listed, servers would present such certificates, and the error could name
        // the curve. But a server with two certificates could then choose that one over one that
        // works.
        self.algorithms.supported_schemes()
    }
}

impl TrustedServers {
    /// Accepts a certificate without a trusted authority if the user named or installed it.
    /// Otherwise returns the first fault: one of the certificate itself, then one of its authority.
    fn accept_named(
        &self,
        verdict: &rustls::Error,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let certificate = match EndEntityCert::try_from(end_entity) {
            Ok(certificate) => certificate,
            // Versions 1 and 2 of X.509 have no extensions, and so no host names.
            Err(webpki::Error::UnsupportedCertVersion) => {
                return Err(TlsError::WrongName {
                    host: host.to_str().into_owned(),
                    names: Vec::new(),
                });
            }
            Err(_) => return Err(TlsError::untrusted(verdict)),
        };
        // Without authorities, this always fails: because of the time, then because of the purpose,
        // and if both are right, because no authority is known.
        let usage = KeyUsage::server_auth();
        let alone = certificate.verify_for_usage(self.algorithms.all, &[], &[], now, usage, None, None);
        let is_authority = match alone.map(drop) {
            Err(webpki::Error::UnknownIssuer) => false,
            Err(webpki::Error::CaUsedAsEndEntity) => true,
            Err(webpki::Error::CertExpired { time, not_after }) => {
                return Err(expired(CertificateOwner::Server, not_after, time));
            }
            Err(webpki::Error::CertNotValidYet { time, not_before }) => {
                return Err(not_valid_yet(CertificateOwner::Server, not_before, time));
            }
            Err(webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension) => {
                return Err(TlsError::WrongPurpose);
            }
            Ok(()) | Err(_) => return Err(TlsError::untrusted(verdict)),
        };
        match certificate.verify_is_valid_for_subject_name(host) {
            Ok(()) => {}
            Err(webpki::Error::CertNotValidForName(InvalidNameContext { presented, .. })) => {
                return Err(TlsError::WrongName {
                    host: host.to_str().into_owned(),
                    names: presented.iter().filter_map(|name| host_name(name)).collect(),
                });
            }
            Err(_) => return Err(TlsError::untrusted(verdict)),
        }
        if matches!(verdict, rustls::Error::InvalidCertificate(CertificateError::Revoked)) {
            return Err(TlsError::Revoked);
        }
        if self.named.contains(end_entity) || installed().contains(end_entity) {
            return Ok(());
        }
        if certificate.issuer() == certificate.subject() {
            return Err(TlsError::SelfSigned);
        }
        if is_authority {
            return Err(TlsError::AuthorityCertificate);
        }
        Err(self.authority_error(verdict, &certificate, intermediates))
    }

    /// Returns the fault of the authorities of a certificate that is valid in itself.
    fn authority_error(
        &self,
        verdict: &rustls::Error,
        certificate: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> TlsError {
        let rustls::Error::InvalidCertificate(error) = verdict else {
            return TlsError::Other(verdict.to_string());
        };
        let owner = CertificateOwner::Authority;
        let issuer = || last_issuer(certificate, intermediates);
        match error {
            CertificateError::ExpiredContext { time, not_after } => expired(owner, *not_after, *time),
            CertificateError::NotValidYetContext { time, not_before } => not_valid_yet(owner, *not_before, *time),
            CertificateError::UnknownIssuer => TlsError::UnknownAuthority { issuer: issuer() },
            CertificateError::BadSignature => TlsError::WrongAuthority { issuer: issuer() },
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                let installed = installed();
                let authorities = intermediates.iter().chain(&self.named).chain(&installed);
                let key = authorities
                    .filter(|authority| is_issuer(authority, certificate))
                    .find_map(unsupported_key);
                key.map_or(TlsError::UnsupportedSignature, |key| TlsError::UnsupportedKey {
                    owner,
                    key,
                })
            }
            _ => TlsError::untrusted(verdict),
        }
    }
}

/// Returns the certificates in the system's files, both of servers and of authorities.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn installed() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Returns an empty list: this system has no such files, and its verifier has applied its settings
/// already.
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn installed() -> Vec<CertificateDer<'static>> {
    Vec::new()
}

/// Refuses a server's certificate with a key that ring does not support.
fn check_key(certificate: &CertificateDer<'_>) -> Result<(), TlsError> {
    let owner = CertificateOwner::Server;
    unsupported_key(certificate).map_or(Ok(()), |key| Err(TlsError::UnsupportedKey { owner, key }))
}

#[cfg(test)]
mod tests;
