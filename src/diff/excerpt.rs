//! Lines that show a difference, safe for a terminal.

use std::fmt::Write as _;

use similar::{ChangeTag, TextDiff};

use layer::text::harmless;

/// Most bytes of a text that is compared line by line.
pub(super) const MAX_TEXT_LEN: u64 = 256 << 10;
/// Most lines of such a text.
const MAX_TEXT_LINES: usize = 5000;
/// Most pairs of lines that are compared, over all texts: the time grows with them.
pub(super) const MAX_LINE_PAIRS: u64 = 10_000_000_000;
/// Most lines of an excerpt.
const MAX_LINES: usize = 200;
/// Most characters of a line.
const MAX_LINE_LEN: usize = 400;
/// Bytes of a row of hexadecimal numbers.
pub(super) const ROW: u64 = 16;
/// Lines around a change.
const CONTEXT: usize = 3;

/// Whether bytes are text: UTF-8 without control characters but tabs and line ends.
fn is_text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    let is_odd = |character: char| character.is_control() && !matches!(character, '\t' | '\n' | '\r');
    (!text.contains(is_odd)).then_some(text)
}

/// A unified diff of two texts; none if they are no texts, too long, or the rest of the pairs of lines does not do.
pub(super) fn of_texts(a: &[u8], b: &[u8], pairs: &mut u64) -> Option<Vec<String>> {
    let (a, b) = (is_text(a)?, is_text(b)?);
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

/// Rows of 16 bytes, those that differ twice. `start` is the first byte's position.
pub(super) fn of_bytes(start: u64, a: &[u8], b: &[u8]) -> Vec<String> {
    let row = |bytes: &[u8], index: usize| -> Vec<u8> {
        let row = bytes.chunks(16).nth(index).unwrap_or_default();
        row.to_vec()
    };
    let mut lines = Vec::new();
    let mut end = 0;
    for index in 0..a.len().max(b.len()).div_ceil(16) {
        let (left, right) = (row(a, index), row(b, index));
        let at = start + index as u64 * ROW;
        if left == right {
            lines.push(format!(" {}", hex_row(at, &left)));
            continue;
        }
        for (sign, bytes) in [('-', left), ('+', right)] {
            if !bytes.is_empty() {
                lines.push(format!("{sign}{}", hex_row(at, &bytes)));
            }
        }
        // One row after the last that differs.
        end = lines.len() + 1;
    }
    lines.truncate(end);
    lines
}

/// As `hexdump -C` has them.
fn hex_row(at: u64, bytes: &[u8]) -> String {
    let mut row = format!("{at:08x}  ");
    for index in 0..16 {
        match bytes.get(index) {
            Some(byte) => write!(row, "{byte:02x} "),
            None => write!(row, "   "),
        }
        .expect("memory takes it");
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
