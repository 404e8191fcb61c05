//! Text for people: escapes what a terminal would interpret in names and in untrusted messages.

use std::fmt::{self, Write as _};

/// Returns bytes, such as a name in an image, as text. Backslashes are doubled, so that different
/// bytes give different texts. Bytes that are not UTF-8 become `\xNN`, and characters that a
/// terminal interprets become `\n` or `\u{NN}`.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                _ => push(&mut text, character),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("memory takes it");
        }
    }
    text
}

/// Returns a text in which the characters that a terminal interprets are escaped as `\n` or
/// `\u{NN}`.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    text.chars().for_each(|character| push(&mut harmless, character));
    harmless
}

fn push(text: &mut String, character: char) {
    if is_terminal_control(character) {
        text.extend(character.escape_default());
    } else {
        text.push(character);
    }
}

/// Returns whether a terminal interprets a character instead of showing it: control characters,
/// line separators, and marks that change the direction of the text around them (`Bidi_Control` of
/// Unicode).
#[must_use]
pub fn is_terminal_control(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Shows bytes in a message: UTF-8 unchanged, everything unprintable escaped, and the middle of
/// long texts left out.
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Debug for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Bytes shown at either end of a text that is longer than twice that.
const SHOWN_END_LEN: usize = 128;

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= 2 * SHOWN_END_LEN {
            return escape(self.0, f);
        }
        escape(&self.0[..SHOWN_END_LEN], f)?;
        write!(f, "[… {} bytes …]", self.0.len() - 2 * SHOWN_END_LEN)?;
        escape(&self.0[self.0.len() - SHOWN_END_LEN..], f)
    }
}

fn escape(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        write!(f, "{}", chunk.valid().escape_debug())?;
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters with Unicode's property `Bidi_Control`.
    const DIRECTIONS: [char; 12] = [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}',
        '\u{2067}', '\u{2068}', '\u{2069}',
    ];

    #[test]
    fn characters_that_change_the_text_direction_are_escaped() {
        for character in DIRECTIONS {
            let name = format!("a{character}txt.exe");
            let expected = format!("a\\u{{{:x}}}txt.exe", u32::from(character));
            assert_eq!(printable(name.as_bytes()), expected);
            assert_eq!(harmless(&name), expected);
        }
    }

    #[test]
    fn letters_of_right_to_left_scripts_are_not_escaped() {
        for name in ["motd", "é", "שלום", "日本語", "👩\u{200d}💻"] {
            assert_eq!(printable(name.as_bytes()), name);
            assert_eq!(harmless(name), name);
        }
    }

    #[test]
    fn names_that_differ_are_printed_differently() {
        assert_eq!(printable(b"a\\b\n\xff\x1b"), "a\\\\b\\n\\xff\\u{1b}");
        assert_ne!(printable(b"\\xff"), printable(b"\xff"));
        assert_ne!(printable("\u{202e}".as_bytes()), printable(b"\\u{202e}"));
    }

    #[test]
    fn a_text_keeps_its_backslashes() {
        assert_eq!(harmless("C:\\a\u{1b}[1m"), "C:\\a\\u{1b}[1m");
    }

    #[test]
    fn messages_show_utf8_and_escape_the_rest() {
        assert_eq!(Printable("é/\n\u{1b}[1m".as_bytes()).to_string(), "é/\\n\\u{1b}[1m");
        assert_eq!(Printable(b"a\xff\xfeb\"").to_string(), "a\\xff\\xfeb\\\"");
        assert_eq!(
            Printable("a\u{202e}b\u{61c}".as_bytes()).to_string(),
            "a\\u{202e}b\\u{61c}"
        );
        assert_eq!(Printable(&[b'n'; 256]).to_string(), "n".repeat(256));
        let (start, end) = ("a".repeat(128), "z".repeat(128));
        assert_eq!(
            Printable(format!("{start}middle{end}").as_bytes()).to_string(),
            format!("{start}[… 6 bytes …]{end}")
        );
    }
}
