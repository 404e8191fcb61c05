//! Parses names and numbers of signals, for `StopSignal`.

/// Signals of Linux on amd64 and arm64 (signal(7)), from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
const ALIASES: [(&str, u32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];
/// First and last real-time signal for programs. The C library reserves the two before.
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

/// Returns the number of a signal in one of the forms that Docker accepts: `SIGTERM`, `TERM` or
/// `15`, `SIGRTMIN+3` or `RTMAX-1`, in any case.
pub(super) fn parse_signal(signal: &str) -> Option<u32> {
    if signal.bytes().all(|byte| byte.is_ascii_digit()) {
        return signal.parse().ok().filter(|number| (1..=RTMAX).contains(number));
    }
    let name = signal.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return check_real_time(RTMIN.checked_add(parse_offset(rest, '+')?));
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return check_real_time(RTMAX.checked_sub(parse_offset(rest, '-')?));
    }
    let aliases = ALIASES.into_iter().find(|(alias, _)| *alias == name);
    let numbered = (1..).zip(NAMES).find(|(_, known)| *known == name);
    numbered.map(|(number, _)| number).or(aliases.map(|(_, number)| number))
}

/// Parses what follows `RTMIN` or `RTMAX`: nothing, or a sign and a number.
fn parse_offset(rest: &str, sign: char) -> Option<u32> {
    if rest.is_empty() {
        return Some(0);
    }
    let digits = rest.strip_prefix(sign)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

/// Returns the number of a real-time signal. Returns `None` for other numbers.
fn check_real_time(number: Option<u32>) -> Option<u32> {
    number.filter(|number| (RTMIN..=RTMAX).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_parsed_from_its_name_or_number() {
        for (signal, expected) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("15", Some(15)),
            ("SIGHUP", Some(1)),
            ("SIGKILL", Some(9)),
            ("SIGWINCH", Some(28)),
            ("SIGPWR", Some(30)),
            ("SIGSYS", Some(31)),
            ("SIGIOT", Some(6)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("RTMAX", Some(64)),
            ("0", None),
            ("65", None),
            ("", None),
            ("SIGRTMIN+31", None),
            ("SIGRTMIN-1", None),
            ("SIGRTMIN+", None),
            ("SIGRTMAX-é", None),
            ("SIGNOTHING", None),
        ] {
            assert_eq!(parse_signal(signal), expected, "{signal:?}");
        }
    }
}
