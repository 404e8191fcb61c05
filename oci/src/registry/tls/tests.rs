use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::{AlertDescription, PeerIncompatible};

use super::certificate::{common_name, element};
use super::error::{to_the_minute, wrong_name};
use super::*;

/// Self-signed certificate (CA:TRUE) with a key on P-256, for `localhost` and 127.0.0.1, valid from
/// 2024-03-01 12:00 until 2034-03-01 12:00.
const SELF_SIGNED: &str = "\
    -----BEGIN CERTIFICATE-----\n\
    MIIBaTCCAQ6gAwIBAgIUMqoDMG/W/a0uwMS1jfdjuClr1rAwCgYIKoZIzj0EAwIw\n\
    DDEKMAgGA1UEAwwBcjAeFw0yNDAzMDExMjAwMDBaFw0zNDAzMDExMjAwMDBaMAwx\n\
    CjAIBgNVBAMMAXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATxv5mbMOIUo2Ua\n\
    HbDmifCeCtrAl7oDL72AjwXmU9HSYoixvAUT+ZRdVAhNlCKS9gsT3uska47dwWik\n\
    azitfeRzo04wTDAPBgNVHRMBAf8EBTADAQH/MBoGA1UdEQQTMBGCCWxvY2FsaG9z\n\
    dIcEfwAAATAdBgNVHQ4EFgQULWK+/zUihKRE/uKOPPEgC6XG7mYwCgYIKoZIzj0E\n\
    AwIDSQAwRgIhAPW4DILu2JE0OKlP3qEjbBW+YVcJJ/QhOdu/HAh9425zAiEA/Vn5\n\
    vAtss/adzgEoPXaYFGoTkfWhQDktRrPf9+sF4sY=\n\
    -----END CERTIFICATE-----\n\
";
/// Certificate like [`SELF_SIGNED`], with a key on P-521.
const ON_P521: &str = "\
    -----BEGIN CERTIFICATE-----\n\
    MIIB8DCCAVGgAwIBAgIUVNmb+jHJEkX8ihZdSTlZ2zPCF/YwCgYIKoZIzj0EAwIw\n\
    DDEKMAgGA1UEAwwBcjAeFw0yNDAzMDExMjAwMDBaFw0zNDAzMDExMjAwMDBaMAwx\n\
    CjAIBgNVBAMMAXIwgZswEAYHKoZIzj0CAQYFK4EEACMDgYYABAE6b5UdhPv6BFwa\n\
    QJws9cwzOT9JnR+0nxw1UCv8e7suvakjpCbp6mUvGW8j+TPXeNaQi2ga5zSPUG/e\n\
    XNz10X+LQwDb/0ItNsPJdpdoXoJGYRoDdnZtxl03SlnsE+Ogk4d/6iq+BWO6wGOX\n\
    3rt0nedwDec4sLLWsyBOdOk8uGYphIH2/qNOMEwwDwYDVR0TAQH/BAUwAwEB/zAa\n\
    BgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwHQYDVR0OBBYEFMpHCXuCEu8Wq+I2\n\
    D5GEjx36cr72MAoGCCqGSM49BAMCA4GMADCBiAJCAcQsXZDhoZFjOEG8omkfhKwB\n\
    ljbxzjtLCXb4653crJO1WmbR52p3fjuADCNK6ELf+IbGJDEMYUfCK1jbQDUs+jbD\n\
    AkIBvj9GAehnv3IsLxEdN8GfRgaVgRd1L52tV8ek87iCoScYCb4bMlLIcAyuyHHz\n\
    Z8twdFpzT4KvCwZMR+G+GKVlrKc=\n\
    -----END CERTIFICATE-----\n\
";
const BEGIN: u64 = 1_709_294_400;
const END: u64 = 2_024_827_200;

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Returns the verdict on a certificate if only the `named` certificates are trusted.
fn verdict(certificate: &str, named: &[&str], host: &'static str, now: u64) -> Result<(), TlsError> {
    let servers = TrustedServers {
        authorities: None,
        named: named.iter().map(|pem| der(pem)).collect(),
        algorithms: ring::default_provider().signature_verification_algorithms,
    };
    let host = ServerName::try_from(host).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let verdict = servers.verify_server_cert(&der(certificate), &[], &host, &[], now);
    verdict.map(drop).map_err(|error| TlsError::from_rustls(&error))
}

#[test]
fn named_certificate_is_trusted_for_its_hosts_and_in_its_time() {
    for host in ["localhost", "127.0.0.1"] {
        for now in [BEGIN, END] {
            assert!(verdict(SELF_SIGNED, &[SELF_SIGNED], host, now).is_ok(), "{host}, {now}");
        }
    }
    let named = |host, now| verdict(SELF_SIGNED, &[SELF_SIGNED], host, now).unwrap_err();
    let error = named("localhost", END + 60);
    assert!(matches!(error, TlsError::Expired { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "its certificate expired on 2034-03-01 12:00 UTC (it is 2034-03-01 12:01 UTC here)"
    );
    let error = named("localhost", BEGIN - 60);
    assert!(matches!(error, TlsError::NotValidYet { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "its certificate is not valid before 2024-03-01 12:00 UTC (it is 2024-03-01 11:59 UTC here)"
    );
    let error = named("registry.example", BEGIN);
    assert!(matches!(error, TlsError::WrongName { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "its certificate is not for registry.example, but for localhost, 127.0.0.1"
    );
}

#[test]
fn self_signed_certificate_that_is_not_named_is_not_trusted() {
    for named in [&[][..], &[ON_P521]] {
        let verdict = verdict(SELF_SIGNED, named, "localhost", BEGIN);
        assert!(matches!(verdict, Err(TlsError::SelfSigned)), "{verdict:?}");
    }
}

#[test]
fn named_certificate_on_p521_is_not_supported() {
    let error = verdict(ON_P521, &[ON_P521], "localhost", BEGIN).unwrap_err();
    assert_eq!(
        error.to_string(),
        "its certificate has a key on the curve P-521, which is not supported"
    );
}

#[test]
fn meanings_of_alerts() {
    let meaning = |alert| TlsError::from_rustls(&rustls::Error::AlertReceived(alert));
    for alert in [AlertDescription::CertificateRequired, AlertDescription::BadCertificate] {
        assert!(matches!(meaning(alert), TlsError::ClientCertificate));
    }
    assert!(matches!(
        meaning(AlertDescription::ProtocolVersion),
        TlsError::NoCommonVersion
    ));
    assert!(matches!(
        meaning(AlertDescription::HandshakeFailure),
        TlsError::NoCommonCipher
    ));
    assert!(matches!(
        meaning(AlertDescription::UnrecognisedName),
        TlsError::UnknownName
    ));
    let other = meaning(AlertDescription::InternalError);
    assert!(
        matches!(other, TlsError::Other(_)) && other.to_string().contains("InternalError"),
        "{other}"
    );
}

#[test]
fn meanings_of_rustls_errors() {
    let own = CertificateError::Other(OtherError(Arc::new(TlsError::Revoked)));
    assert!(matches!(TlsError::from_rustls(&own.into()), TlsError::Revoked));
    let platform = CertificateError::Other(OtherError(Arc::new(std::io::Error::other("not trusted"))));
    let error = TlsError::from_rustls(&platform.into());
    assert!(
        matches!(error, TlsError::Untrusted(_)) && error.to_string().contains("not trusted"),
        "{error}"
    );
    let old = rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13);
    assert!(matches!(TlsError::from_rustls(&old), TlsError::NoCommonVersion));
}

#[test]
fn times_are_shown_to_the_minute() {
    let at = |seconds| to_the_minute(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(at(0), "1970-01-01 00:00 UTC");
    assert_eq!(at(951_827_999), "2000-02-29 12:39 UTC");
    assert_eq!(at(1_709_251_199), "2024-02-29 23:59 UTC");
    assert_eq!(at(1_709_251_200), "2024-03-01 00:00 UTC");
    assert_eq!(at(4_102_444_799), "2099-12-31 23:59 UTC");
    assert_eq!(at(4_107_542_400), "2100-03-01 00:00 UTC");
    assert_eq!(at(253_402_300_799), "9999-12-31 23:59 UTC");
}

#[test]
fn names_from_a_certificate_are_escaped() {
    let name = b"\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x0c\x02DE\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x0c\x03a\x1b[";
    assert_eq!(common_name(name).as_deref(), Some("a\\u{1b}["));
    for len in 0..name.len() {
        assert_eq!(common_name(&name[..len]), None);
    }
    assert_eq!(host_name("DnsName(\"a\nb\")").as_deref(), Some("a\\nb"));
    assert_eq!(host_name("IpAddress(::1)").as_deref(), Some("::1"));
    assert_eq!(host_name("UniformResourceIdentifier(\"a\")"), None);
}

#[test]
fn names_beyond_the_eighth_are_counted() {
    let names: Vec<_> = (0..100).map(|number| format!("n{number}")).collect();
    let text = wrong_name("host", &names);
    assert!(text.ends_with("n6, n7 and 92 more"), "{text}");
    assert!(!wrong_name("host", &names[..8]).contains("more"));
}

#[test]
fn der_elements_are_split_off_or_refused() {
    assert_eq!(element(&[0x30, 1, 7, 8]), Some((&[7][..], &[8][..])));
    let long = [&[0x04, 0x82, 0x01, 0x00][..], &[5; 256]].concat();
    assert_eq!(element(&long), Some((&[5; 256][..], &[][..])));
    for broken in [
        &[][..],
        &[0x30],
        &[0x30, 1],
        &[0x30, 0x80],
        &[0x30, 0x81],
        &[0x30, 0x84, 255, 255, 255, 255],
    ] {
        assert_eq!(element(broken), None, "{broken:?}");
    }
}
