//! Excerpts: lines that show a difference, safe to print to a terminal.

use std::fmt::Write as _;

use similar::{ChangeTag, TextDiff};

use layer::text::harmless;

/// Maximum size in bytes of a text that is compared line by line.
pub(super) const MAX_TEXT_LEN: u64 = 256 << 10;
/// Maximum number of lines of a text that is compared line by line.
const MAX_TEXT_LINES: usize = 5000;
/// Maximum number of pairs of lines that are compared, over all texts. Time grows with their
/// number.
pub(super) const MAX_LINE_PAIRS: u64 = 10_000_000_000;
/// Maximum number of lines of an excerpt.
const MAX_LINES: usize = 200;
/// Maximum number of characters of a line.
const MAX_LINE_LEN: usize = 400;
/// Number of bytes in a row of hexadecimal numbers.
pub(super) const ROW_LEN: u64 = 16;
/// Number of unchanged lines shown around a change.
const CONTEXT: usize = 3;

/// Returns the bytes as text if they are UTF-8 without control characters other than tabs and line
/// ends.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    let is_odd = |character: char| character.is_control() && !matches!(character, '\t' | '\n' | '\r');
    (!text.contains(is_odd)).then_some(text)
}

/// Returns a unified diff of two texts, and subtracts the pairs of lines from `pairs`.
///
/// Returns `None` if they are not texts, have too many lines, or exceed the remaining `pairs`.
pub(super) fn of_texts(a: &[u8], b: &[u8], pairs: &mut u64) -> Option<Vec<String>> {
    let (a, b) = (as_text(a)?, as_text(b)?);
    let [a_lines, b_lines] = [a, b].map(|text| text.lines().count());
    if a_lines.max(b_lines) > MAX_TEXT_LINES {
        return None;
    }
    *pairs = pairs.checked_sub(a_lines as u64 * b_lines as u64)?;
    let diff = TextDiff::from_lines(a, b);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        lines.push(hunk.header().to_string());
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let line = change.value();
            let line = line.strip_suffix('\n').unwrap_or(line);
            lines.push(format!("{sign}{}", clipped(line)));
            if change.missing_newline() {
                lines.push("\\ No newline at end of file".to_owned());
            }
        }
    }
    if lines.len() > MAX_LINES {
        let left = lines.split_off(MAX_LINES).len();
        lines.push(format!("@ {left} more lines"));
    }
    Some(lines)
}

fn clipped(line: &str) -> String {
    let cut: String = line.chars().take(MAX_LINE_LEN).collect();
    let shown: Vec<String> = cut.split('\t').map(harmless).collect();
    let mut text = shown.join("\t");
    if line.chars().nth(MAX_LINE_LEN).is_some() {
        text.push('…');
    }
    text
}

/// Returns rows of 16 bytes in hexadecimal: equal rows once, differing rows as a `-` and a `+`
/// line. `start` is the position of the first byte. One equal row follows the last that differs.
pub(super) fn of_bytes(start: u64, a: &[u8], b: &[u8]) -> Vec<String> {
    let row = |bytes: &[u8], index: usize| -> Vec<u8> {
        let row = bytes.chunks(16).nth(index).unwrap_or_default();
        row.to_vec()
    };
    let mut lines = Vec::new();
    let mut end = 0;
    for index in 0..a.len().max(b.len()).div_ceil(16) {
        let (left, right) = (row(a, index), row(b, index));
        let at = start + index as u64 * ROW_LEN;
        if left == right {
            lines.push(format!(" {}", hex_row(at, &left)));
            continue;
        }
        for (sign, bytes) in [('-', left), ('+', right)] {
            if !bytes.is_empty() {
                lines.push(format!("{sign}{}", hex_row(at, &bytes)));
            }
        }
        // One equal row after the last that differs is kept.
        end = lines.len() + 1;
    }
    lines.truncate(end);
    lines
}

/// Returns a row in the format of `hexdump -C`.
fn hex_row(at: u64, bytes: &[u8]) -> String {
    let mut row = format!("{at:08x}  ");
    for index in 0..16 {
        match bytes.get(index) {
            Some(byte) => write!(row, "{byte:02x} "),
            None => write!(row, "   "),
        }
        .expect("writing to a string does not fail");
    }
    let shown = bytes.iter().map(|&byte| match byte {
        b' '..=b'~' => char::from(byte),
        _ => '.',
    });
    row + " |" + &shown.collect::<String>() + "|"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_line_by_line() {
        let mut pairs = MAX_LINE_PAIRS;
        let lines = of_texts(b"one\ntwo\nthree\n", b"one\n2\x1b\nthree", &mut pairs);
        assert_eq!(lines, None, "an escape character makes it no text");
        let lines = of_texts(b"one\ntwo\nthree\n", b"one\n2\nthree", &mut pairs).unwrap();
        assert_eq!(
            lines,
            [
                "@@ -1,3 +1,3 @@",
                " one",
                "-two",
                "-three",
                "+2",
                "+three",
                "\\ No newline at end of file"
            ]
        );
    }

    #[test]
    fn long_texts_are_cut_off() {
        let mut pairs = MAX_LINE_PAIRS;
        let long = "line\n".repeat(1000);
        let lines = of_texts(long.as_bytes(), b"", &mut pairs).unwrap();
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines.last().unwrap(), "@ 801 more lines");
        let wide = "x".repeat(1000);
        let lines = of_texts(b"", wide.as_bytes(), &mut pairs).unwrap();
        assert_eq!(lines[1].chars().count(), 1 + MAX_LINE_LEN + 1);
        let mut pairs = 999;
        assert_eq!(of_texts(long.as_bytes(), b"x\n", &mut pairs), None);
    }

    #[test]
    fn bytes_are_shown_in_rows() {
        let lines = of_bytes(32, b"0123456789abcdefsame", b"0123456789abcde\0same");
        assert_eq!(
            lines,
            [
                "-00000020  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|",
                "+00000020  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 00  |0123456789abcde.|",
                " 00000030  73 61 6d 65                                      |same|",
            ]
        );
    }
}
