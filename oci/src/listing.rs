//! Short lists of names, for messages.

use std::fmt;

/// Displays the first items of a list that an untrusted document may make very long. Escapes them,
/// and shortens long ones.
pub(super) struct Listing<'a, T>(pub(super) &'a [T]);

impl<T: fmt::Display> fmt::Display for Listing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_ITEMS: usize = 20;
        const MAX_ITEM_LEN: usize = 200;
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (nr, item) in self.0.iter().take(MAX_ITEMS).enumerate() {
            let separator = if nr == 0 { "" } else { ", " };
            let item = item.to_string();
            let (end, more) = match item.char_indices().nth(MAX_ITEM_LEN) {
                Some((end, _)) => (end, "…"),
                None => (item.len(), ""),
            };
            write!(f, "{separator}{}{more}", item[..end].escape_debug())?;
        }
        match self.0.len().saturating_sub(MAX_ITEMS) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_shortened_and_escaped() {
        assert_eq!(Listing::<u32>(&[]).to_string(), "none");
        assert_eq!(Listing(&["a", "b"]).to_string(), "a, b");
        assert_eq!(Listing(&["\u{1b}[2J"]).to_string(), "\\u{1b}[2J");
        let many: Vec<_> = (0..30).collect();
        assert!(Listing(&many).to_string().ends_with("19 and 10 more"));
        assert_eq!(
            Listing(&["ü".repeat(1 << 20)]).to_string(),
            format!("{}…", "ü".repeat(200))
        );
    }
}
