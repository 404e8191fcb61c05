//! When to ask again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::sleep;

use super::RegistryError;
use crate::image::ImageError;

/// How often a request is made that fails in a way that may pass.
const ATTEMPTS: u32 = 5;

/// The longest wait that a registry may ask for and get; a longer one is left to the caller.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Counts attempts.
pub(super) struct Retries {
    left: u32,
    backoff: Duration,
}

impl Retries {
    /// Begins to count. `backoff` is the wait after the first failure, give or take a half; each later one is twice as
    /// long.
    pub(super) fn new(backoff: Duration) -> Self {
        Self {
            left: ATTEMPTS - 1,
            backoff,
        }
    }

    /// How long to wait after this failure, if there should be another attempt.
    pub(super) fn wait_after(&mut self, error: &RegistryError) -> Option<Duration> {
        if !error.is_transient() {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let backoff = self.backoff / 2 + self.backoff.mul_f64(jitter());
        self.backoff *= 2;
        match error.retry_after() {
            Some(wait) if wait > MAX_RETRY_AFTER => None,
            Some(wait) => Some(wait + backoff),
            None => Some(backoff),
        }
    }
}

/// From 0 to 1, another one each time, so that many clients do not come back at once. Nothing of an image depends on
/// it.
fn jitter() -> f64 {
    let bits = u16::try_from(RandomState::new().hash_one(()) >> 48).expect("16 of 64 bits remain");
    f64::from(bits) / f64::from(u16::MAX)
}

/// Makes a request until it succeeds, or fails in a way that will not pass.
pub(super) async fn retry<T>(
    backoff: Duration,
    request: impl AsyncFn() -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let mut retries = Retries::new(backoff);
    loop {
        match request().await {
            Err(ImageError::Registry(error)) => match retries.wait_after(&error) {
                Some(wait) => sleep(wait).await,
                None => return Err(error.into()),
            },
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_BACKOFF: Duration = Duration::from_millis(400);

    fn busy(retry_after: Option<u64>) -> RegistryError {
        RegistryError::TooManyRequests {
            registry: "localhost".to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
            problem: String::new(),
        }
    }

    #[test]
    fn waits_grow_and_end() {
        let mut retries = Retries::new(FIRST_BACKOFF);
        let waits: Vec<_> = std::iter::from_fn(|| retries.wait_after(&busy(None))).collect();
        assert_eq!(waits.len(), 4);
        for (nr, wait) in waits.iter().enumerate() {
            let backoff = FIRST_BACKOFF * (1 << nr);
            assert!(*wait >= backoff / 2 && *wait <= backoff * 3 / 2, "{nr}: {wait:?}");
        }
        let waits: Vec<_> = (0..20)
            .map(|_| Retries::new(FIRST_BACKOFF).wait_after(&busy(None)))
            .collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }

    #[test]
    fn a_registry_says_how_long_to_wait_within_bounds() {
        let wait = Retries::new(FIRST_BACKOFF).wait_after(&busy(Some(60))).unwrap();
        assert!(
            wait >= Duration::from_mins(1) && wait < Duration::from_secs(61),
            "{wait:?}"
        );
        assert_eq!(Retries::new(FIRST_BACKOFF).wait_after(&busy(Some(61))), None);
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        let error = RegistryError::NoToken { realm: "x".to_owned() };
        assert_eq!(Retries::new(FIRST_BACKOFF).wait_after(&error), None);
    }
}
