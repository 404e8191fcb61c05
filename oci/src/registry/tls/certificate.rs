//! Parts of certificates that errors name: keys, hosts and issuers.

use std::ops::RangeInclusive;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// Supported lengths of an RSA key in bits.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Limit on the characters of a name that an error shows.
const MAX_NAME_LEN: usize = 100;

/// Returns whether a certificate names another as its issuer.
pub(super) fn is_issuer(authority: &CertificateDer<'_>, certificate: &EndEntityCert<'_>) -> bool {
    EndEntityCert::try_from(authority).is_ok_and(|authority| authority.subject() == certificate.issuer())
}

/// Returns the description of the key in a certificate if ring does not support it, such as `a key
/// on the curve P-521`; `None` for a supported key.
pub(super) fn unsupported_key(certificate: &CertificateDer<'_>) -> Option<String> {
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let info = EndEntityCert::try_from(certificate).ok()?.subject_public_key_info();
    // SubjectPublicKeyInfo of RFC 5280, 4.1: the algorithm, its parameters, and the key.
    let (algorithm, key) = element(element(&info)?.0)?;
    let (algorithm, parameters) = element(algorithm)?;
    match algorithm {
        EC => {
            let curve = match element(parameters)?.0 {
                [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] | [0x2b, 0x81, 0x04, 0x00, 0x22] => return None,
                [0x2b, 0x81, 0x04, 0x00, 0x23] => "the curve P-521",
                [0x2b, 0x81, 0x04, 0x00, 0x21] => "the curve P-224",
                [0x2b, 0x81, 0x04, 0x00, 0x0a] => "the curve secp256k1",
                _ => "a curve other than P-256 and P-384",
            };
            Some(format!("a key on {curve}"))
        }
        RSA => {
            // A BIT STRING begins with the number of unused bits, which is 0 here.
            let (modulus, _) = element(element(element(key)?.0.get(1..)?)?.0)?;
            let zeros = modulus.iter().take_while(|&&byte| byte == 0).count();
            let bits = (modulus.len() - zeros) * 8 - modulus.get(zeros)?.leading_zeros() as usize;
            (!RSA_BITS.contains(&bits)).then(|| format!("an RSA key of {bits} bits"))
        }
        _ => None,
    }
}

/// Returns the common name of the issuer at the end of the chain that a server presents; empty if
/// it has none.
pub(super) fn last_issuer(certificate: &EndEntityCert<'_>, intermediates: &[CertificateDer<'_>]) -> String {
    let mut issuer = certificate.issuer().to_vec();
    // At most one step for each certificate, so that a cycle ends.
    for _ in intermediates {
        let mut parsed = intermediates.iter().filter_map(|der| EndEntityCert::try_from(der).ok());
        match parsed.find(|next| next.subject() == issuer && next.issuer() != issuer) {
            Some(next) => issuer = next.issuer().to_vec(),
            None => break,
        }
    }
    common_name(&issuer).unwrap_or_default()
}

/// Returns the common name in the DER of a distinguished name, in a form that is safe to print.
pub(super) fn common_name(name: &[u8]) -> Option<String> {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    let mut rest = name;
    while let Some((set, next)) = element(rest) {
        rest = next;
        let (attribute, _) = element(set)?;
        let (kind, value) = element(attribute)?;
        if kind == COMMON_NAME {
            return Some(printable(&String::from_utf8_lossy(element(value)?.0)));
        }
    }
    None
}

/// Splits DER into the content of its first element and the bytes after that element.
pub(super) fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let len = bytes.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
            (len, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// Returns the host in a name in webpki's notation, such as `DnsName("localhost")`; `None` for a
/// name of another kind.
pub(super) fn host_name(name: &str) -> Option<String> {
    let dns = name
        .strip_prefix("DnsName(\"")
        .and_then(|name| name.strip_suffix("\")"));
    let ip = name.strip_prefix("IpAddress(").and_then(|name| name.strip_suffix(')'));
    dns.or(ip).map(printable)
}

/// Returns a name from a certificate in a form that is safe to print.
fn printable(name: &str) -> String {
    name.chars().take(MAX_NAME_LEN).flat_map(char::escape_debug).collect()
}
