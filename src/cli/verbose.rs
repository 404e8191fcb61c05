//! Events of this program's crates, printed as lines on standard error for `-v` and `RUST_LOG`.

use std::env;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use layer::text::harmless;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, dispatcher};
use tracing_subscriber::filter::Targets;

const VARIABLE: &str = "RUST_LOG";

/// Crates whose events are shown. Events of other crates may hold secrets.
const CRATES: [&str; 4] = ["microagent", "oci", "layer", "ext4"];

/// Name of the field with the text of an event.
const MESSAGE: &str = "message";

/// Starts to print the events that `-v`, given `verbosity` times, or else `RUST_LOG` selects.
/// Without either, no subscriber is set, and an event costs one comparison.
///
/// # Errors
///
/// A `RUST_LOG` that cannot be parsed.
pub(super) fn start(verbosity: u8) -> Result<(), clap::Error> {
    let Some(targets) = targets(verbosity, env::var_os(VARIABLE))? else {
        return Ok(());
    };
    // A closed standard error leaves no way to report this.
    let write = |line: &str| drop(io::stderr().write_all(line.as_bytes()));
    let set = tracing::subscriber::set_global_default(EventLines::new(targets, write));
    set.expect("nothing else of this program sets a subscriber");
    Ok(())
}

/// Returns whether events are printed, which would break progress bars.
pub(super) fn is_started() -> bool {
    dispatcher::has_been_set()
}

/// Returns the events to print, or `None` for no events. A flag overrides the environment.
fn targets(verbosity: u8, variable: Option<OsString>) -> Result<Option<Targets>, clap::Error> {
    let level = match verbosity {
        0 => {
            let Some(value) = variable.filter(|value| !value.is_empty()) else {
                return Ok(None);
            };
            // A filter by span (`[`) would be parsed as a part of the name of a target.
            let text = value.to_str().filter(|text| !text.contains('['));
            let parsed = text.and_then(|text| Targets::from_str(text).ok());
            return parsed.map(Some).ok_or_else(|| {
                let value = value.to_string_lossy();
                let message = format!(
                    "{VARIABLE} is {value:?}: it must be a level, such as debug, or a level by module, such as \
                     oci=trace,microagent=info"
                );
                clap::Error::raw(ErrorKind::InvalidValue, message)
            });
        }
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    Ok(Some(Targets::new().with_default(level)))
}

/// Subscriber that prints each event as one line. Spans are ignored: the crates have none.
struct EventLines<W> {
    targets: Targets,
    started: Instant,
    write: W,
}

impl<W: Fn(&str)> EventLines<W> {
    fn new(targets: Targets, write: W) -> Self {
        Self {
            targets,
            started: Instant::now(),
            write,
        }
    }
}

impl<W: Fn(&str) + 'static> Subscriber for EventLines<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let name = metadata.target().split("::").next().unwrap_or_default();
        CRATES.contains(&name) && self.targets.would_enable(metadata.target(), metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels = self.targets.iter().map(|(_, level)| level);
        levels.chain(self.targets.default_level()).max()
    }

    fn event(&self, event: &Event<'_>) {
        (self.write)(&event_line(self.started.elapsed(), event));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Formats an event: seconds since the start, level, target, message, fields. The result is one
/// line without terminal control characters, even if a field holds untrusted data.
fn event_line(since_start: Duration, event: &Event<'_>) -> String {
    let mut text = EventText::default();
    event.record(&mut text);
    let EventText { message, fields } = text;
    let (level, target) = (event.metadata().level(), event.metadata().target());
    let seconds = since_start.as_secs_f64();
    let line = format!("{seconds:9.3} {level:>5} {target}: {message}{fields}");
    harmless(&line) + "\n"
}

/// Message and fields of an event.
#[derive(Default)]
struct EventText {
    message: String,
    fields: String,
}

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        self.push(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }
}

impl EventText {
    /// Adds a field. An ambiguous value, such as one with spaces, is quoted.
    fn push(&mut self, field: &Field, value: &str) {
        let name = field.name();
        let is_ambiguous = |character: char| character.is_whitespace() || matches!(character, '"' | '=');
        let result = if name == MESSAGE {
            self.message.write_str(value)
        } else if value.is_empty() || value.contains(is_ambiguous) {
            write!(self.fields, " {name}={value:?}")
        } else {
            write!(self.fields, " {name}={value}")
        };
        result.expect("writing to a string does not fail");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Level;

    use super::*;

    /// Returns the lines printed for the events that `emit` emits.
    fn written(targets: Targets, emit: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(String::new()));
        let lines = {
            let written = Arc::clone(&written);
            EventLines::new(targets, move |line: &str| written.lock().unwrap().push_str(line))
        };
        tracing::subscriber::with_default(lines, emit);
        Arc::into_inner(written).unwrap().into_inner().unwrap()
    }

    fn all() -> Targets {
        Targets::new().with_default(LevelFilter::TRACE)
    }

    /// Returns whether the flag and the variable enable an event.
    fn enables(verbosity: u8, variable: &str, target: &str, level: Level) -> bool {
        let targets = targets(verbosity, Some(variable.into())).unwrap();
        targets.is_some_and(|targets| targets.would_enable(target, &level))
    }

    #[test]
    fn an_event_is_a_line_with_its_fields() {
        let text = written(all(), || {
            tracing::info!(target: "oci::registry", status = 200, host = "r.example", why = "a b", "answered");
        });
        let (seconds, rest) = text.trim_start().split_once(' ').unwrap();
        assert!(seconds.parse::<f64>().is_ok(), "{text}");
        assert_eq!(
            rest,
            " INFO oci::registry: answered status=200 host=r.example why=\"a b\"\n"
        );
    }

    #[test]
    fn no_field_forges_a_line_or_reaches_the_terminal() {
        const EVIL: &str = "x\n    0.001  INFO oci: forged\r\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{7}";
        let text = written(all(), || {
            tracing::info!(target: "oci", text = EVIL, shown = %EVIL, debug = ?EVIL, list = ?[EVIL], "{EVIL}");
            tracing::info!(target: "oci", error = &io::Error::other(EVIL) as &dyn std::error::Error);
        });
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert_eq!(text.matches("forged").count(), 6, "{text:?}");
        let obeyed: Vec<_> = text
            .chars()
            .filter(|character| layer::text::is_terminal_control(*character))
            .collect();
        assert_eq!(obeyed, ['\n', '\n'], "{text:?}");
        assert!(text.contains(r"\u{1b}[2J"), "{text}");
    }

    #[test]
    fn events_of_other_crates_are_not_shown() {
        let text = written(all(), || {
            tracing::error!(target: "hyper_util::client", "a");
            tracing::error!(target: "ociother", "b");
            tracing::error!(target: "microagent::rootfs", "c");
        });
        assert!(
            text.ends_with("microagent::rootfs: c\n") && text.lines().count() == 1,
            "{text}"
        );
    }

    #[test]
    fn the_flag_overrides_the_variable() {
        assert!(targets(0, None).unwrap().is_none());
        assert!(targets(0, Some("".into())).unwrap().is_none());
        for (verbosity, level) in [(1, Level::INFO), (2, Level::DEBUG), (3, Level::DEBUG)] {
            for variable in ["", "off", "trace", "oci=loud"] {
                assert!(enables(verbosity, variable, "oci::x", level), "{verbosity} {variable}");
                assert!(
                    !enables(verbosity, variable, "oci::x", Level::TRACE),
                    "{verbosity} {variable}"
                );
            }
        }
        assert!(!enables(1, "", "oci", Level::DEBUG));
        assert!(enables(0, "debug", "microagent", Level::DEBUG));
        assert!(!enables(0, "debug", "microagent", Level::TRACE));
        assert!(enables(0, "oci=trace,microagent=info", "oci::registry", Level::TRACE));
        assert!(!enables(0, "oci=trace,microagent=info", "microagent", Level::DEBUG));
        assert!(!enables(0, "oci=trace", "microagent", Level::ERROR));
    }

    #[test]
    fn an_error_names_a_variable_that_cannot_be_parsed() {
        for value in ["oci=loud", "oci[span]=debug", "a=b=c"] {
            let error = targets(0, Some(value.into())).unwrap_err().to_string();
            assert!(error.contains(VARIABLE) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn the_level_hint_is_the_most_verbose_level() {
        let hint = |text: &str| EventLines::new(text.parse().unwrap(), |_: &str| {}).max_level_hint();
        assert_eq!(hint("oci=trace,microagent=info"), Some(LevelFilter::TRACE));
        assert_eq!(hint("warn"), Some(LevelFilter::WARN));
        assert_eq!(hint("warn,oci=off"), Some(LevelFilter::WARN));
    }
}
