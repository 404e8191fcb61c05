//! How libarchive writes an extended attribute into a PAX header: its name like a URL, its value in base 64.

use super::error::LayerErrorKind;

/// Decodes a name: `%` and two hexadecimal digits stand for a byte, everything else for itself.
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

/// Decodes a value: with or without padding and line breaks, as libarchive's own reader takes it.
pub(super) fn decode_value(encoded: &[u8]) -> Result<Vec<u8>, LayerErrorKind> {
    let mut value = Vec::with_capacity(encoded.len() / 4 * 3 + 2);
    let (mut bits, mut bit_count) = (0_u32, 0);
    for &byte in encoded {
        match byte {
            b'\r' | b'\n' => continue,
            b'=' | b'_' => break,
            _ => {}
        }
        let digit = base64(byte).ok_or(LayerErrorKind::InvalidExtension {
            reason: "an extended attribute that is not in base 64",
        })?;
        bits = bits << 6 | u32::from(digit);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            value.push(u8::try_from(bits >> bit_count).expect("the bits above were taken away"));
            bits &= (1 << bit_count) - 1;
        }
    }
    Ok(value)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn base64(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
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
        assert!(decode_value(b"Zm9v!").is_err());
    }
}
