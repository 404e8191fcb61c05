//! TLS: the certificates that are trusted, and why a connection was not made.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, OtherError, PeerIncompatible,
    SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use tracing::{Level, debug};
use webpki::{EndEntityCert, InvalidNameContext, KeyUsage};

use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// Limit on the names of a certificate that an error shows.
const MAX_NAMES: usize = 8;

/// Limit on the characters of a name that an error shows.
const MAX_NAME_LEN: usize = 100;

/// The lengths of an RSA key that are supported, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A reason why there is no secure connection to a server.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate whose time is over.
    #[error("{owner} expired on {} (it is {} here)", to_the_minute(*not_after), to_the_minute(*now))]
    Expired {
        /// Whose certificate it is.
        owner: CertificateOwner,
        /// The end of its time.
        not_after: SystemTime,
        /// The time on this machine.
        now: SystemTime,
    },
    /// A certificate whose time has not come.
    #[error("{owner} is not valid before {} (it is {} here)", to_the_minute(*not_before), to_the_minute(*now))]
    NotValidYet {
        /// Whose certificate it is.
        owner: CertificateOwner,
        /// The begin of its time.
        not_before: SystemTime,
        /// The time on this machine.
        now: SystemTime,
    },
    /// A certificate for other hosts, or for none.
    #[error("{}", wrong_name(host, names))]
    WrongName {
        /// The host that was asked for.
        host: String,
        /// The hosts that the certificate is for.
        names: Vec<String>,
    },
    /// A certificate that only itself vouches for.
    #[error("its certificate is self-signed, and not one of those that are trusted here")]
    SelfSigned,
    /// A chain of certificates that does not end at an authority that is trusted.
    #[error(
        "its certificate is from an authority that is not trusted here{}",
        after_colon(issuer)
    )]
    UnknownAuthority {
        /// The name of the authority; may be empty.
        issuer: String,
    },
    /// A certificate that a trusted authority of the same name did not sign.
    #[error("the authority that its certificate names did not sign it{}", after_colon(issuer))]
    WrongAuthority {
        /// The name of the authority; may be empty.
        issuer: String,
    },
    /// An authority's own certificate in place of a server's.
    #[error("its certificate is that of an authority (CA:TRUE), not of a server")]
    AuthorityCertificate,
    /// A certificate whose extended key usage lacks servers.
    #[error("its certificate is not for servers (extended key usage)")]
    WrongPurpose,
    /// A certificate that its authority has revoked.
    #[error("its certificate was revoked")]
    Revoked,
    /// A key of a kind that the cryptography here lacks.
    #[error("{owner} has {key}, which is not supported")]
    UnsupportedKey {
        /// Whose certificate it is in.
        owner: CertificateOwner,
        /// The key, such as `a key on the curve P-521`.
        key: String,
    },
    /// A signature of a kind that the cryptography here lacks.
    #[error("its certificate, or that of its authority, is signed in a way that is not supported, such as with SHA-1")]
    UnsupportedSignature,
    /// Another certificate that is not trusted.
    #[error("its certificate is not trusted here: {0}")]
    Untrusted(String),
    /// A server that only speaks to clients with a certificate.
    #[error("it wants a client certificate")]
    ClientCertificate,
    /// A server that speaks only versions before TLS 1.2.
    #[error("it speaks neither TLS 1.2 nor TLS 1.3")]
    NoCommonVersion,
    /// A server that broke off with an alert that has several meanings. One whose only certificate
    /// is on P-521 does.
    #[error(
        "it refused the handshake: its cipher suites or the curve of its certificate, such as P-521, are not supported \
         here, or it wants a client certificate"
    )]
    NoCommonCipher,
    /// A server that does not know the host that it was asked for.
    #[error("it has no certificate for this host")]
    UnknownName,
    /// Another failure of the handshake.
    #[error("{0}")]
    Other(String),
}

/// The holder of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateOwner {
    /// The server itself.
    Server,
    /// An authority between the server and one that is trusted, or the latter.
    Authority,
}

impl fmt::Display for CertificateOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "its certificate",
            Self::Authority => "the certificate of its authority",
        })
    }
}

impl TlsError {
    /// Returns what a failure of the handshake means.
    pub(super) fn from_rustls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(source))) => {
                source.downcast_ref().cloned().unwrap_or_else(|| Self::untrusted(error))
            }
            rustls::Error::AlertReceived(alert) => {
                Self::from_alert(*alert).unwrap_or_else(|| Self::Other(error.to_string()))
            }
            rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::NoCommonVersion,
            _ => Self::Other(error.to_string()),
        }
    }

    fn untrusted(error: &rustls::Error) -> Self {
        Self::Untrusted(error.to_string())
    }

    /// Returns what a server means by an alert, where that is known.
    fn from_alert(alert: AlertDescription) -> Option<Self> {
        Some(match alert {
            // This program never presents a certificate, so nothing else can be wrong with it.
            AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA => Self::ClientCertificate,
            AlertDescription::ProtocolVersion => Self::NoCommonVersion,
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => Self::NoCommonCipher,
            AlertDescription::UnrecognisedName => Self::UnknownName,
            _ => return None,
        })
    }
}

impl Failure for TlsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Permanent
    }

    /// Returns advice, which is never to accept any certificate.
    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Expired { .. } => {
                "ask its operator to renew the certificate; if the time here is wrong, set this machine's clock"
            }
            Self::NotValidYet { .. } => {
                "check this machine's clock; if it is right, ask the server's operator for a certificate that is valid already"
            }
            Self::WrongName { names, .. } if names.is_empty() => {
                "ask its operator for a certificate with the host as subjectAltName"
            }
            Self::WrongName { .. } => {
                "check the host; name it as its certificate does, or ask its operator for one with this name as \
                 subjectAltName"
            }
            Self::SelfSigned | Self::AuthorityCertificate => {
                return Some(Hint::from("if you trust this very certificate, name it").with(Setting::Authority));
            }
            Self::UnknownAuthority { .. } | Self::Untrusted(_) => {
                let advice = "if its certificate is of an authority of your own, name that";
                return Some(Hint::from(advice).with(Setting::Authority));
            }
            Self::WrongAuthority { .. } => {
                "check the file with the authority's certificate: it may be an older one, or another's of the same name"
            }
            Self::WrongPurpose => "ask its operator for a certificate with the extended key usage serverAuth",
            Self::Revoked => "ask its operator for a new certificate",
            Self::UnsupportedKey { .. } => {
                "ask its operator for a certificate with a key on P-256 or P-384, of Ed25519, or of RSA with 2048 bits or more"
            }
            Self::UnsupportedSignature => "ask its operator for a certificate that is signed with SHA-256 or SHA-384",
            Self::ClientCertificate => {
                "client certificates are not supported: ask its operator for access with a user and a password"
            }
            Self::NoCommonVersion => "ask its operator to enable TLS 1.2 or 1.3, or to update the server",
            Self::NoCommonCipher => {
                "see the server's log; supported are TLS 1.3, TLS 1.2 with ECDHE, and certificates with keys on P-256 \
                 or P-384, of Ed25519, or of RSA with 2048 bits or more; no client certificates"
            }
            Self::UnknownName => "check the host",
            Self::Other(_) => return None,
        };
        Some(text.into())
    }
}

/// Makes the TLS configuration of a client that trusts the system's authorities and `named`
/// certificates. Without any of them, fails unless `is_plain`: a machine without certificates
/// still speaks plain HTTP.
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

/// Makes a configuration on ring's cryptography, whichever the process has installed.
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

/// Trusts every server, whatever its certificate and its signature.
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

/// Trusts servers whose certificates are from an authority of the system or of the user, and in
/// addition those whose very certificate the user named or installed. The latter need not be from
/// an authority that is trusted, as in Go and OpenSSL, but must be for this host and this time.
#[derive(Debug)]
struct TrustedServers {
    /// `None` on a machine without any.
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
        // Listing P-521 too would make servers present such certificates, and an error could name
        // the curve. But a server that prefers it to another certificate, which works, would then
        // choose it.
        self.algorithms.supported_schemes()
    }
}

impl TrustedServers {
    /// Accepts a certificate without a trusted authority if it is itself one of those that are
    /// trusted. Otherwise returns what is wrong: first with the certificate, then with its
    /// authority.
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
            // Versions 1 and 2 of X.509 have no extensions, and so no names of hosts.
            Err(webpki::Error::UnsupportedCertVersion) => {
                return Err(TlsError::WrongName {
                    host: host.to_str().into_owned(),
                    names: Vec::new(),
                });
            }
            Err(_) => return Err(TlsError::untrusted(verdict)),
        };
        // Without an authority, this fails in any case: first for its time, then for its purpose,
        // and if these are right for the authority that there is not.
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

    /// Returns what is wrong with the authorities of a certificate that is right in itself.
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

/// Returns the certificates in the system's files, of servers as well as of authorities.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn installed() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Other systems have no such files, and have applied their settings already.
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn installed() -> Vec<CertificateDer<'static>> {
    Vec::new()
}

/// Returns whether a certificate names another as its issuer.
fn is_issuer(authority: &CertificateDer<'_>, certificate: &EndEntityCert<'_>) -> bool {
    EndEntityCert::try_from(authority).is_ok_and(|authority| authority.subject() == certificate.issuer())
}

fn check_key(certificate: &CertificateDer<'_>) -> Result<(), TlsError> {
    let owner = CertificateOwner::Server;
    unsupported_key(certificate).map_or(Ok(()), |key| Err(TlsError::UnsupportedKey { owner, key }))
}

/// Returns what the key in a certificate is, if ring lacks its kind.
fn unsupported_key(certificate: &CertificateDer<'_>) -> Option<String> {
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let info = EndEntityCert::try_from(certificate).ok()?.subject_public_key_info();
    // SubjectPublicKeyInfo of RFC 5280, 4.1: the algorithm, its parameters, and the key.
    let (algorithm, key) = element(element(&info)?.0)?;
    let (algorithm, parameters) = element(algorithm)?;
    match algorithm {
        EC => {
            let curve = match element(parameters)?.0 {
                [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] | [0x2b, 0x81, 0x04, 0x00, 0x22] => return None,
                [0x2b, 0x81, 0x04, 0x00, 0x23] => "the curve P-521",
                [0x2b, 0x81, 0x04, 0x00, 0x21] => "the curve P-224",
                [0x2b, 0x81, 0x04, 0x00, 0x0a] => "the curve secp256k1",
                _ => "a curve other than P-256 and P-384",
            };
            Some(format!("a key on {curve}"))
        }
        RSA => {
            // A string of bits begins with the number of those that it does not use: 0.
            let (modulus, _) = element(element(element(key)?.0.get(1..)?)?.0)?;
            let zeros = modulus.iter().take_while(|&&byte| byte == 0).count();
            let bits = (modulus.len() - zeros) * 8 - modulus.get(zeros)?.leading_zeros() as usize;
            (!RSA_BITS.contains(&bits)).then(|| format!("an RSA key of {bits} bits"))
        }
        _ => None,
    }
}

/// Returns the common name of the issuer at the end of the chain that a server presents; empty if
/// it has none.
fn last_issuer(certificate: &EndEntityCert<'_>, intermediates: &[CertificateDer<'_>]) -> String {
    let mut issuer = certificate.issuer().to_vec();
    // Each is passed at most once, and a circle ends.
    for _ in intermediates {
        let mut parsed = intermediates.iter().filter_map(|der| EndEntityCert::try_from(der).ok());
        match parsed.find(|next| next.subject() == issuer && next.issuer() != issuer) {
            Some(next) => issuer = next.issuer().to_vec(),
            None => break,
        }
    }
    common_name(&issuer).unwrap_or_default()
}

/// Returns the common name in the DER of a name, to be shown.
fn common_name(name: &[u8]) -> Option<String> {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    let mut rest = name;
    while let Some((set, next)) = element(rest) {
        rest = next;
        let (attribute, _) = element(set)?;
        let (kind, value) = element(attribute)?;
        if kind == COMMON_NAME {
            return Some(printable(&String::from_utf8_lossy(element(value)?.0)));
        }
    }
    None
}

/// Splits DER into the content of its first element and what follows that.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let len = bytes.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
            (len, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// Returns the host of a name in webpki's notation, such as `DnsName("localhost")`; `None` if the
/// name is not a host's.
fn host_name(name: &str) -> Option<String> {
    let dns = name
        .strip_prefix("DnsName(\"")
        .and_then(|name| name.strip_suffix("\")"));
    let ip = name.strip_prefix("IpAddress(").and_then(|name| name.strip_suffix(')'));
    dns.or(ip).map(printable)
}

fn wrong_name(host: &str, names: &[String]) -> String {
    if names.is_empty() {
        return format!(
            "its certificate is for no host, so not for {host}: it has no subjectAltName, and its common name (CN) does \
             not count"
        );
    }
    let more = match names.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = names[..names.len().min(MAX_NAMES)].join(", ");
    format!("its certificate is not for {host}, but for {names}{more}")
}

fn expired(owner: CertificateOwner, not_after: UnixTime, now: UnixTime) -> TlsError {
    TlsError::Expired {
        owner,
        not_after: system_time(not_after),
        now: system_time(now),
    }
}

fn not_valid_yet(owner: CertificateOwner, not_before: UnixTime, now: UnixTime) -> TlsError {
    TlsError::NotValidYet {
        owner,
        not_before: system_time(not_before),
        now: system_time(now),
    }
}

/// Times past what the system can hold become the epoch: no certificate has such.
fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(time.as_secs()))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns a time as in `2024-03-01 12:00 UTC`.
fn to_the_minute(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    // Years begin in March here, so that a leap day is the last of its year; eras have 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        minutes / 60,
        minutes % 60
    )
}

/// Returns a name out of a certificate in a form that is safe to print.
fn printable(name: &str) -> String {
    name.chars().take(MAX_NAME_LEN).flat_map(char::escape_debug).collect()
}

fn after_colon(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(": {name}")
    }
}

#[cfg(test)]
mod tests;
