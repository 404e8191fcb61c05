//! Decodes extended attributes as libarchive writes them into PAX headers: names like URLs, values
//! in base 64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Decodes a name. `%` and two hexadecimal digits stand for a byte, everything else for itself.
pub(super) fn decode_name(encoded: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (hexadecimal(*high), hexadecimal(*low))
        {
            name.push(high << 4 | low);
            rest = after;
        } else {
            name.push(*first);
        }
    }
    name
}

/// Decodes a value. Padding and line breaks are optional, as in libarchive's own reader. Returns
/// `None` if the value is not in base 64.
pub(super) fn decode_value(encoded: &[u8]) -> Option<Vec<u8>> {
    let digits = encoded.iter().copied().filter(|byte| !b"\r\n".contains(byte));
    let digits: Vec<u8> = digits.take_while(|byte| !b"=_".contains(byte)).collect();
    STANDARD_NO_PAD.decode(digits).ok()
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_like_urls() {
        for (encoded, name) in [
            ("user.plain", &b"user.plain"[..]),
            ("user.%3D%25%e2", b"user.=%\xe2"),
            ("user.%", b"user.%"),
            ("user.%4", b"user.%4"),
            ("user.%zz%41", b"user.%zzA"),
            ("user.+", b"user.+"),
        ] {
            assert_eq!(decode_name(encoded.as_bytes()), name, "{encoded}");
        }
    }

    #[test]
    fn values_are_base64_with_or_without_padding() {
        for (encoded, value) in [
            ("", &b""[..]),
            ("AA", b"\0"),
            ("AA==", b"\0"),
            ("/////w", b"\xff\xff\xff\xff"),
            ("Zm9v", b"foo"),
            ("Zm9vYg__", b"foob"),
            ("Zm9v\nYmE=\n", b"fooba"),
        ] {
            assert_eq!(decode_value(encoded.as_bytes()).unwrap(), value, "{encoded}");
        }
        for encoded in ["Zm9v!", "Z", "Zm9vY"] {
            assert!(decode_value(encoded.as_bytes()).is_none(), "{encoded}");
        }
    }
}
