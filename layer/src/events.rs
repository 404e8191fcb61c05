//! Events that report the progress of long work to one listener.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// An optional listener to events of one type. Clones share it.
///
/// The listener is called on the thread that has something to report, one call at a time. The work
/// waits until it returns. It may cancel the work. It must not emit events itself, and must not
/// panic: a panic continues in the work, and fails it.
pub struct Events<E>(Option<Arc<Mutex<Listener<E>>>>);

type Listener<E> = dyn FnMut(E) + Send;

impl<E> Events<E> {
    /// Creates events that call a listener.
    pub fn new(listener: impl FnMut(E) + Send + 'static) -> Self {
        Self(Some(Arc::new(Mutex::new(listener))))
    }

    /// Emits an event. `event` is called only if there is a listener. The caller must not hold a
    /// lock that the listener could need.
    pub fn emit(&self, event: impl FnOnce() -> E) {
        if let Some(listener) = &self.0 {
            let event = event();
            let mut listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
            (*listener)(event);
        }
    }

    /// Returns events of another type, which `wrap` converts for the same listener.
    #[must_use]
    pub fn wrap<F>(&self, wrap: impl Fn(F) -> E + Send + 'static) -> Events<F>
    where
        E: 'static,
    {
        if self.0.is_none() {
            return Events::default();
        }
        let outer = self.clone();
        Events::new(move |event| outer.emit(|| wrap(event)))
    }
}

impl<E> Clone for Events<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Default for Events<E> {
    /// Returns events without a listener.
    fn default() -> Self {
        Self(None)
    }
}

impl<E> fmt::Debug for Events<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Events(heard)",
            None => "Events(unheard)",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn events_are_not_created_without_a_listener() {
        let events = Events::<()>::default();
        events.emit(|| panic!("somebody listens"));
        events.wrap(|(): ()| ()).emit(|| panic!("somebody listens"));
    }

    #[test]
    fn one_call_at_a_time_sees_all_events_of_all_threads() {
        let (mut sum, mut calls) = (0, 0);
        let total = Arc::new(Mutex::new((0, 0)));
        let events = Events::new({
            let total = Arc::clone(&total);
            move |number: u64| {
                // Not locked again: concurrent calls would lose some.
                (sum, calls) = (sum + number, calls + 1);
                *total.lock().unwrap() = (sum, calls);
            }
        });
        thread::scope(|scope| {
            for number in 1..=4 {
                let events = events.wrap(move |()| number);
                scope.spawn(move || (0..1000).for_each(|_| events.emit(|| ())));
            }
        });
        assert_eq!(*total.lock().unwrap(), (10_000, 4000));
    }
}
