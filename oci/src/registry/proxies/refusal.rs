//! Reasons why a proxy refuses to connect.

use layer::failure::Hint;

/// Texts of hyper-util for replies of a SOCKS proxy after which the same request may succeed later.
const SOCKS_TRANSIENT: [&str; 5] = [
    "general server failure",
    "network unreachable",
    "host unreachable",
    "connection refused",
    "ttl expired",
];

/// Reason why a proxy refuses to connect to a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyRefusal {
    /// The proxy requires a user and a password, and got none.
    #[error("it asks for a user and a password")]
    CredentialsWanted,
    /// The proxy does not accept the user and the password.
    #[error("it does not accept the user and the password")]
    CredentialsRefused,
    /// The proxy responded with this HTTP status.
    #[error("it answered with status {0}")]
    Status(u16),
    /// A SOCKS proxy sent this reply.
    #[error("it answered: {0}")]
    Socks(String),
    /// An HTTP proxy that is used over TLS refused; its status is unknown.
    #[error("it refused")]
    Unknown,
}

impl ProxyRefusal {
    /// Returns whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status(status) => (500..=599).contains(status) && *status != 501,
            Self::Socks(text) => SOCKS_TRANSIENT.contains(&text.as_str()),
            Self::CredentialsWanted | Self::CredentialsRefused | Self::Unknown => false,
        }
    }

    /// Returns advice on the refusal of a proxy to connect to a registry.
    pub(in crate::registry) fn hint(&self, registry: &str, proxy: &str, variable: &str) -> Hint {
        match self {
            Self::CredentialsWanted | Self::CredentialsRefused => format!(
                "put a user and a password that it accepts into {variable}, percent-encoded: <user>:<password>@{proxy}"
            ),
            _ => format!(
                "ask the operator of the proxy to allow {registry}; if it is reached without a proxy, add it to NO_PROXY"
            ),
        }
        .into()
    }
}
