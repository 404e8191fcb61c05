//! Asking a registry whether it accepts credentials, before they are kept.

use super::client::Timeouts;
use super::http::Http;
use super::runtime::Runtime;
use super::{RegistryError, RegistryOptions};
use crate::auth::{AuthMethod, FoundCredentials, LoginTarget, Secret};
use crate::progress::Reporter;
use crate::{Event, ImageError};
use layer::cancel::Cancel;
use layer::events::Events;

/// What a registry says of a user and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginCheck {
    /// It accepts them.
    Accepted,
    /// It asked for none, so that nobody knows what it would say of them; it may want some for one image and not for another.
    NotAsked,
}

/// Asks the registry whether it accepts a user and a password. They are sent only if it asks for some.
/// Waits are reported.
///
/// # Errors
///
/// [`RegistryError::LoginRefused`] when it does not, and what can go wrong with a registry;
/// [`ImageError::Cancelled`] once it is cancelled.
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
            // Nobody has said anything of a password that was not sent.
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
