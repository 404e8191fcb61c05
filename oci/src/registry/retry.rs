//! Waits for servers: the back-off before another attempt, and reports of long waits.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tracing::info;

use super::RegistryError;
use super::events::with_causes;
use super::server::CurrentHost;
use crate::progress::{Reporter, WaitReason};

/// Attempts at a request that fails with transient errors.
const ATTEMPTS: u32 = 5;

/// Longest `Retry-After` that is waited for. A longer one ends the attempts, and is left to the
/// caller.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Shortest wait before an attempt that is reported.
const MIN_SHOWN: Duration = Duration::from_secs(1);

/// Count of attempts at a request, and the back-off before the next one.
pub(super) struct Retries {
    left: u32,
    backoff: Duration,
}

impl Retries {
    /// Starts the count. `backoff` is the wait after the first failure, plus or minus a random half
    /// of it. It doubles after each failure.
    pub(super) fn new(backoff: Duration) -> Self {
        Self {
            left: ATTEMPTS - 1,
            backoff,
        }
    }

    /// Returns the wait before the next attempt; `None` if there is no other attempt.
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

    /// Waits before the next attempt, and reports a long wait. Returns `false` at once if there is
    /// no other attempt.
    pub(super) async fn pause(&mut self, error: &RegistryError, reporter: &Reporter) -> bool {
        let Some(wait) = self.wait_after(error) else {
            return false;
        };
        info!(
            host = error.host(),
            why = with_causes(error),
            wait_ms = wait.as_millis(),
            attempt = ATTEMPTS - self.left,
            of = ATTEMPTS,
            "pauses before another attempt"
        );
        let next = WaitReason::Attempt {
            host: error.host().to_owned(),
            at: Instant::now() + wait,
            number: ATTEMPTS - self.left,
            of: ATTEMPTS,
        };
        let _waiting = (wait >= MIN_SHOWN).then(|| reporter.wait(next));
        sleep(wait).await;
        true
    }
}

/// Waits for `answer`, and reports the wait once nothing has arrived for the time `after`.
pub(super) async fn show_wait<T>(
    reporter: &Reporter,
    after: Duration,
    current_host: &CurrentHost,
    host: impl Fn() -> String,
    answer: impl Future<Output = T>,
) -> T {
    let mut answer = pin!(answer);
    let mut shown = None;
    loop {
        if let Ok(answer) = timeout(after, &mut answer).await {
            return answer;
        }
        let since = current_host.last_activity();
        // The report ends when another server is asked, or when bytes arrive.
        shown = shown.filter(|(known, _)| *known == since);
        if shown.is_none() && since.elapsed() >= after {
            let host = host();
            shown = Some((since, reporter.wait(WaitReason::Answer { host, since })));
        }
    }
}

/// Returns a random number from 0 to 1, so that many clients do not retry at the same moment. No
/// image depends on it.
fn jitter() -> f64 {
    let bits = u16::try_from(RandomState::new().hash_one(()) >> 48).expect("16 of 64 bits remain");
    f64::from(bits) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::super::runtime::Runtime;
    use super::*;

    const FIRST_BACKOFF: Duration = Duration::from_millis(400);

    fn too_many_requests(retry_after: Option<u64>) -> RegistryError {
        RegistryError::TooManyRequests {
            registry: "localhost".to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
            problem: String::new(),
        }
    }

    #[test]
    fn backoff_doubles_until_the_attempts_end() {
        let mut retries = Retries::new(FIRST_BACKOFF);
        let waits: Vec<_> = std::iter::from_fn(|| retries.wait_after(&too_many_requests(None))).collect();
        assert_eq!(waits.len(), 4);
        for (nr, wait) in waits.iter().enumerate() {
            let backoff = FIRST_BACKOFF * (1 << nr);
            assert!(*wait >= backoff / 2 && *wait <= backoff * 3 / 2, "{nr}: {wait:?}");
        }
        let waits: Vec<_> = (0..20)
            .map(|_| Retries::new(FIRST_BACKOFF).wait_after(&too_many_requests(None)))
            .collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }

    #[test]
    fn retry_after_is_respected_within_its_limit() {
        let wait = Retries::new(FIRST_BACKOFF)
            .wait_after(&too_many_requests(Some(60)))
            .unwrap();
        assert!(
            wait >= Duration::from_mins(1) && wait < Duration::from_secs(61),
            "{wait:?}"
        );
        assert_eq!(
            Retries::new(FIRST_BACKOFF).wait_after(&too_many_requests(Some(61))),
            None
        );
    }

    #[test]
    fn pause_reports_host_time_and_attempt() {
        let reporter = Reporter::default();
        let progress = reporter.progress();
        let runtime = Runtime::new(0).unwrap();
        let watch = async |mut retries: Retries, error: RegistryError| {
            let mut pause = pin!(retries.pause(&error, &reporter));
            assert!(
                timeout(Duration::ZERO, &mut pause).await.is_err(),
                "the pause has not ended"
            );
            progress.waits()
        };
        let before = Instant::now();
        let mut retries = Retries::new(FIRST_BACKOFF);
        retries.wait_after(&too_many_requests(None)).unwrap();
        let waits = runtime
            .block_on(async || watch(retries, too_many_requests(Some(30))).await)
            .unwrap();
        let WaitReason::Attempt {
            host,
            at,
            number: 3,
            of: 5,
        } = waits[0].reason()
        else {
            panic!("{waits:?}")
        };
        assert_eq!(host, "localhost");
        let wait = *at - before;
        assert!(
            wait >= Duration::from_secs(30) && wait < Duration::from_secs(32),
            "{wait:?}"
        );
        assert!(progress.waits().is_empty(), "the pause has ended");
        let retries = Retries::new(FIRST_BACKOFF);
        let waits = runtime
            .block_on(async || watch(retries, too_many_requests(None)).await)
            .unwrap();
        assert!(waits.is_empty(), "{waits:?}");
    }

    #[test]
    fn long_wait_for_an_answer_is_reported() {
        const AFTER: Duration = Duration::from_millis(20);
        let reporter = Reporter::default();
        let progress = reporter.progress();
        let current_host = CurrentHost::new(Url::parse("https://r.example").unwrap());
        let host = || "r.example".to_owned();
        let answer = async {
            assert!(progress.waits().is_empty());
            sleep(AFTER * 3).await;
            let waits = progress.waits();
            let (host, since) = (host(), current_host.last_activity());
            assert_eq!(waits[0].reason(), &WaitReason::Answer { host, since });
            current_host.record_activity();
            sleep(AFTER * 3).await;
            assert_ne!(progress.waits(), waits);
            7
        };
        let shown = async || show_wait(&reporter, AFTER, &current_host, host, answer).await;
        assert_eq!(Runtime::new(0).unwrap().block_on(shown).unwrap(), 7);
        assert!(progress.waits().is_empty());
    }

    #[test]
    fn permanent_error_is_not_retried() {
        let error = RegistryError::NoToken { realm: "x".to_owned() };
        assert_eq!(Retries::new(FIRST_BACKOFF).wait_after(&error), None);
    }
}
