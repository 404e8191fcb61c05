//! Check of credentials at a registry, before a login saves them.

use super::client::Timeouts;
use super::http::Http;
use super::runtime::Runtime;
use super::{RegistryError, RegistryOptions};
use crate::auth::{AuthMethod, FoundCredentials, LoginTarget, Secret};
use crate::progress::Reporter;
use crate::{Event, ImageError};
use layer::cancel::Cancel;
use layer::events::Events;

/// Verdict of a registry on a user and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginCheck {
    /// The registry accepted them.
    Accepted,
    /// The registry did not ask for credentials, so they were not checked. It may still ask for
    /// them for some images.
    NotAsked,
}

/// Checks whether a registry accepts a user and a password. They are sent only if the registry asks
/// for credentials. Waits are reported as events.
///
/// # Errors
///
/// [`RegistryError::LoginRefused`] if the registry refuses the credentials;
/// [`RegistryError::LoginUndecided`] if it refuses the login before it got them; the other errors
/// of a registry; [`ImageError::Cancelled`].
pub fn check_login(
    target: &LoginTarget,
    user: &str,
    password: &Secret,
    options: &RegistryOptions,
    events: &Events<Event>,
    cancel: &Cancel,
) -> Result<LoginCheck, ImageError> {
    let found = FoundCredentials {
        credentials: Some((AuthMethod::basic(user, password), "".into())),
        helper: None,
    };
    let http = Http::new(
        &target.registry,
        "",
        found,
        options,
        Timeouts::default(),
        Reporter::new(events),
    )?;
    let result = Runtime::new(0)?.block_on(async || {
        tokio::select! {
            result = http.retry(async || Ok(http.ping().await?)) => result,
            cancelled = cancel.cancelled() => Err(cancelled.into()),
        }
    })?;
    match result {
        Err(ImageError::Registry(RegistryError::Unauthorized { registry, problem, .. })) => {
            // The credentials are refused only if they were sent to the server that refused.
            Err(if http.is_refused() {
                RegistryError::LoginRefused { registry, problem }.into()
            } else {
                RegistryError::LoginUndecided { registry, problem }.into()
            })
        }
        Err(error) => Err(error),
        Ok(()) if http.was_challenged() => Ok(LoginCheck::Accepted),
        Ok(()) => Ok(LoginCheck::NotAsked),
    }
}
