//! Refusals of proxies to connect.

use layer::failure::Hint;

/// Texts of hyper-util of a SOCKS proxy where the same request may succeed later.
const SOCKS_TRANSIENT: [&str; 5] = [
    "general server failure",
    "network unreachable",
    "host unreachable",
    "connection refused",
    "ttl expired",
];

/// The reason why a proxy does not connect to a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyRefusal {
    /// It wants a user and a password, and got none.
    #[error("it asks for a user and a password")]
    CredentialsWanted,
    /// It does not accept the user with the password.
    #[error("it does not accept the user and the password")]
    CredentialsRefused,
    /// The HTTP status of its answer.
    #[error("it answered with status {0}")]
    Status(u16),
    /// The answer of a SOCKS proxy.
    #[error("it answered: {0}")]
    Socks(String),
    /// A refusal of an HTTP proxy that is spoken to in TLS.
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
                "have {registry} allowed by who runs the proxy; if it is reached without a proxy, add it to NO_PROXY"
            ),
        }
        .into()
    }
}
