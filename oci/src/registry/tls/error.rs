//! Reasons why there is no secure connection to a server.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, OtherError, PeerIncompatible};

use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// Limit on the host names of a certificate that an error shows.
const MAX_NAMES: usize = 8;

/// Reason why a TLS connection to a server was not made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate has expired.
    #[error("{owner} expired on {} (it is {} here)", to_the_minute(*not_after), to_the_minute(*now))]
    Expired {
        /// Owner of the certificate.
        owner: CertificateOwner,
        /// End of its validity.
        not_after: SystemTime,
        /// Time on this machine.
        now: SystemTime,
    },
    /// A certificate is not valid yet.
    #[error("{owner} is not valid before {} (it is {} here)", to_the_minute(*not_before), to_the_minute(*now))]
    NotValidYet {
        /// Owner of the certificate.
        owner: CertificateOwner,
        /// Start of its validity.
        not_before: SystemTime,
        /// Time on this machine.
        now: SystemTime,
    },
    /// The certificate is for other hosts, or for no host.
    #[error("{}", wrong_name(host, names))]
    WrongName {
        /// The requested host.
        host: String,
        /// The hosts that the certificate is for.
        names: Vec<String>,
    },
    /// The certificate is signed only by itself.
    #[error("its certificate is self-signed, and not one of those that are trusted here")]
    SelfSigned,
    /// The chain of certificates does not end at a trusted authority.
    #[error("its certificate is signed by an unknown authority (CA){}", after_colon(issuer))]
    UnknownAuthority {
        /// The name of the authority; may be empty.
        issuer: String,
    },
    /// The certificate names a trusted authority as its issuer, but that authority did not sign it.
    #[error("the authority that its certificate names did not sign it{}", after_colon(issuer))]
    WrongAuthority {
        /// The name of the authority; may be empty.
        issuer: String,
    },
    /// The server presented the certificate of an authority.
    #[error("its certificate is that of an authority (CA:TRUE), not of a server")]
    AuthorityCertificate,
    /// The extended key usage of the certificate does not include servers.
    #[error("its certificate is not for servers (extended key usage)")]
    WrongPurpose,
    /// The authority has revoked the certificate.
    #[error("its certificate was revoked")]
    Revoked,
    /// A certificate has a key that the cryptography library does not support.
    #[error("{owner} has {key}, which is not supported")]
    UnsupportedKey {
        /// Owner of the certificate.
        owner: CertificateOwner,
        /// The key, such as `a key on the curve P-521`.
        key: String,
    },
    /// A certificate has a signature that the cryptography library does not support.
    #[error("its certificate, or that of its authority, is signed in a way that is not supported, such as with SHA-1")]
    UnsupportedSignature,
    /// The certificate is not trusted for another reason.
    #[error("its certificate is not trusted here: {0}")]
    Untrusted(String),
    /// The server requires a client certificate.
    #[error("it requires a client certificate")]
    ClientCertificate,
    /// The server supports only versions before TLS 1.2.
    #[error("it speaks neither TLS 1.2 nor TLS 1.3")]
    NoCommonVersion,
    /// The server ended the handshake with an alert that has several meanings. A server whose only
    /// certificate is on P-521 does so.
    #[error(
        "it refused the handshake: its cipher suites or the curve of its certificate, such as P-521, are not supported \
         here, or it requires a client certificate"
    )]
    NoCommonCipher,
    /// The server does not know the requested host.
    #[error("it has no certificate for this host")]
    UnknownName,
    /// The handshake failed for another reason.
    #[error("{0}")]
    Other(String),
}

/// Owner of a certificate in a server's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateOwner {
    /// The server itself.
    Server,
    /// An authority: a trusted one, or one between it and the server.
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
    /// Returns the error for a failed handshake.
    pub(in crate::registry) fn from_rustls(error: &rustls::Error) -> Self {
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

    pub(super) fn untrusted(error: &rustls::Error) -> Self {
        Self::Untrusted(error.to_string())
    }

    /// Returns the meaning of a server's alert; `None` if it is unknown.
    fn from_alert(alert: AlertDescription) -> Option<Self> {
        Some(match alert {
            // This program never presents a certificate, so the server requires one.
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

    /// Returns advice. It never suggests to accept any certificate.
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
                return Some(Hint::from("if you trust this very certificate, pass it").with(Setting::Authority));
            }
            Self::UnknownAuthority { .. } | Self::Untrusted(_) => {
                let advice = "if its certificate is of an authority of your own, pass the authority's certificate";
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
                "see the server's log; this program supports TLS 1.3, TLS 1.2 with ECDHE, and certificates with keys on P-256 \
                 or P-384, of Ed25519, or of RSA with 2048 bits or more; no client certificates"
            }
            Self::UnknownName => "check the host",
            Self::Other(_) => return None,
        };
        Some(text.into())
    }
}

pub(super) fn wrong_name(host: &str, names: &[String]) -> String {
    if names.is_empty() {
        return format!(
            "its certificate does not name {host} or any other host: it has no subjectAltName, and its common name (CN) is \
             ignored"
        );
    }
    let more = match names.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = names[..names.len().min(MAX_NAMES)].join(", ");
    format!("its certificate is not for {host}, but for {names}{more}")
}

pub(super) fn expired(owner: CertificateOwner, not_after: UnixTime, now: UnixTime) -> TlsError {
    TlsError::Expired {
        owner,
        not_after: system_time(not_after),
        now: system_time(now),
    }
}

pub(super) fn not_valid_yet(owner: CertificateOwner, not_before: UnixTime, now: UnixTime) -> TlsError {
    TlsError::NotValidYet {
        owner,
        not_before: system_time(not_before),
        now: system_time(now),
    }
}

/// Converts a time. Times that the system cannot represent, which no certificate has, become the
/// epoch.
fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(time.as_secs()))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns a time to the minute, as in `2024-03-01 12:00 UTC`.
pub(super) fn to_the_minute(time: SystemTime) -> String {
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

fn after_colon(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(": {name}")
    }
}
