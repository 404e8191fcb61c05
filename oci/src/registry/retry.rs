//! Waits for servers: when to ask again, and what is shown of it.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tracing::info;

use super::RegistryError;
use super::events::with_causes;
use super::server::CurrentHost;
use crate::progress::{Reporter, WaitReason};

/// How often a request is made that fails in a way that may pass.
const ATTEMPTS: u32 = 5;

/// The longest wait that a registry may ask for and get; a longer one is left to the caller.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// A shorter wait before an attempt is not shown.
const MIN_SHOWN: Duration = Duration::from_secs(1);

/// Counts attempts.
pub(super) struct Retries {
    left: u32,
    backoff: Duration,
}

impl Retries {
    /// Begins to count. `backoff` is the wait after the first failure, give or take a half; each
    /// later one is twice as long.
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

    /// Waits after this failure, and returns whether there should be another attempt.
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

/// Waits for an answer, and shows that once nothing has come for this time.
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
        // Another server may be asked by now, or this one have sent something.
        shown = shown.filter(|(known, _)| *known == since);
        if shown.is_none() && since.elapsed() >= after {
            let host = host();
            shown = Some((since, reporter.wait(WaitReason::Answer { host, since })));
        }
    }
}

/// From 0 to 1, another one each time, so that many clients do not come back at once. Nothing of an
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
    fn waits_grow_and_end() {
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
    fn a_registry_says_how_long_to_wait_within_bounds() {
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
    fn a_pause_says_who_is_asked_when_and_in_which_attempt() {
        let reporter = Reporter::default();
        let progress = reporter.progress();
        let runtime = Runtime::new(0).unwrap();
        let watch = async |mut retries: Retries, error: RegistryError| {
            let mut pause = pin!(retries.pause(&error, &reporter));
            assert!(timeout(Duration::ZERO, &mut pause).await.is_err(), "it waits");
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
        } = waits[0].awaited()
        else {
            panic!("{waits:?}")
        };
        assert_eq!(host, "localhost");
        let wait = *at - before;
        assert!(
            wait >= Duration::from_secs(30) && wait < Duration::from_secs(32),
            "{wait:?}"
        );
        assert!(progress.waits().is_empty(), "it has ended");
        let retries = Retries::new(FIRST_BACKOFF);
        let waits = runtime
            .block_on(async || watch(retries, too_many_requests(None)).await)
            .unwrap();
        assert!(waits.is_empty(), "{waits:?}");
    }

    #[test]
    fn an_answer_is_waited_for_visibly_once_that_takes_long() {
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
            assert_eq!(waits[0].awaited(), &WaitReason::Answer { host, since });
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
    fn what_will_not_pass_is_not_tried_again() {
        let error = RegistryError::NoToken { realm: "x".to_owned() };
        assert_eq!(Retries::new(FIRST_BACKOFF).wait_after(&error), None);
    }
}
