//! Text for people: names, and what strangers say, without anything that a terminal obeys.

use std::fmt::Write as _;

/// Bytes as text, such as a name in an image. Backslashes are doubled, so that different bytes give
/// different texts; bytes that are not UTF-8 become `\xNN`, and characters that a terminal obeys
/// become `\n` or `\u{NN}`.
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

/// A text as it is, but for characters that a terminal obeys, which become `\n` or `\u{NN}`.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    text.chars().for_each(|character| push(&mut harmless, character));
    harmless
}

fn push(text: &mut String, character: char) {
    if is_obeyed(character) {
        text.extend(character.escape_default());
    } else {
        text.push(character);
    }
}

/// Returns whether a terminal obeys a character instead of showing it: control characters,
/// separators of lines, and marks that change the direction of the text around them (`Bidi_Control`
/// of Unicode).
#[must_use]
pub fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of Unicode's property `Bidi_Control`.
    const DIRECTIONS: [char; 12] = [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}',
        '\u{2067}', '\u{2068}', '\u{2069}',
    ];

    #[test]
    fn what_changes_the_direction_of_text_is_escaped() {
        for character in DIRECTIONS {
            let name = format!("a{character}txt.exe");
            let expected = format!("a\\u{{{:x}}}txt.exe", u32::from(character));
            assert_eq!(printable(name.as_bytes()), expected);
            assert_eq!(harmless(&name), expected);
        }
    }

    #[test]
    fn letters_of_any_direction_are_not() {
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
}
