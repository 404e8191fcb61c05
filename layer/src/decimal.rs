//! Decimal numbers in extended headers and sparse maps.

use super::error::LayerErrorKind;

/// Parses a decimal number without a sign.
pub(super) fn parse_unsigned(field: &'static str, value: &[u8]) -> Result<u64, LayerErrorKind> {
    parse_digits(value).ok_or_else(|| not_a_number(field, value))
}

/// Parses a decimal number with an optional sign.
pub(super) fn parse_integer(field: &'static str, value: &[u8]) -> Result<i64, LayerErrorKind> {
    let (negative, digits) = split_sign(value);
    parse_digits(digits)
        .and_then(|number| 0_i64.checked_add_unsigned(number))
        .map(|number| if negative { -number } else { number })
        .ok_or_else(|| not_a_number(field, value))
}

/// Splits off the sign. Returns whether the number is negative, and the rest.
pub(super) fn split_sign(value: &[u8]) -> (bool, &[u8]) {
    match value {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, value),
    }
}

/// Parses decimal digits. Returns `None` for anything else, and for a number above 64 bits.
pub(super) fn parse_digits(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0, |value: u64, &byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Returns the error for a value that is not a number.
pub(super) fn not_a_number(field: &'static str, value: &[u8]) -> LayerErrorKind {
    LayerErrorKind::NotANumber {
        field,
        value: value.to_vec(),
    }
}
