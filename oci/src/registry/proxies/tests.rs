use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::thread;

use super::super::runtime::Runtime;
use super::*;

fn proxies(variables: &[(&str, &str)]) -> Proxies {
    Proxies::from_variables(|name| {
        let variable = variables.iter().find(|(known, _)| *known == name);
        variable.map(|(_, value)| OsString::from(value))
    })
}

/// Returns the URL of the proxy for a URL.
fn proxy_url(variables: &[(&str, &str)], url: &str) -> Option<String> {
    let proxies = proxies(variables);
    let proxy = proxies.for_url(&Url::parse(url).unwrap()).unwrap();
    proxy.map(|proxy| proxy.url.to_string())
}

#[test]
fn each_variable_is_for_its_scheme() {
    let all = [
        ("HTTPS_PROXY", "http://tls.example:3128"),
        ("http_proxy", "plain.example"),
        ("ALL_PROXY", "socks5h://all.example"),
    ];
    assert_eq!(
        proxy_url(&all, "https://r.example").unwrap(),
        "http://tls.example:3128/"
    );
    assert_eq!(
        proxy_url(&all, "http://r.example:5000").unwrap(),
        "http://plain.example/"
    );
    assert_eq!(
        proxy_url(&all[1..], "https://r.example").unwrap(),
        "socks5h://all.example:1080"
    );
    assert_eq!(proxy_url(&all[..1], "http://r.example"), None);
    assert_eq!(
        proxy_url(&[("HTTPS_PROXY", ""), all[2]], "https://r.example"),
        proxy_url(&all[2..], "https://r.example")
    );
    let both = [("HTTPS_PROXY", ""), ("https_proxy", "lower.example:1")];
    assert_eq!(
        proxy_url(&both, "https://r.example").unwrap(),
        "http://lower.example:1/"
    );
}

#[test]
fn http_proxy_of_a_cgi_program_is_ignored() {
    let cgi = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "http://stranger.example")];
    assert_eq!(proxy_url(&cgi, "http://r.example"), None);
    assert!(proxy_url(&cgi[1..], "http://r.example").is_some());
    let own = [cgi[0], ("http_proxy", "http://own.example")];
    assert!(proxy_url(&own, "http://r.example").is_some());
}

#[test]
fn hosts_on_this_machine_have_no_proxy() {
    let all = [("ALL_PROXY", "proxy.example")];
    for host in ["localhost:5000", "127.0.0.1", "127.8.9.1:1", "[::1]:5000"] {
        assert_eq!(proxy_url(&all, &format!("http://{host}/v2/")), None, "{host}");
    }
    assert!(proxy_url(&all, "http://localhost.example").is_some());
}

#[test]
fn invalid_value_is_an_error() {
    for (value, expected) in [
        ("ftp://proxy.example:21", Some("ftp")),
        ("quic://proxy.example", Some("quic")),
        ("http://someone:p#ss@proxy.example:3128", None),
        ("http://proxy.example:port", None),
        ("http://", None),
        ("socks5://:1080", None),
        ("://", None),
    ] {
        let proxies = proxies(&[("https_proxy", value)]);
        let error = proxies.for_url(&Url::parse("https://r.example").unwrap()).unwrap_err();
        let RegistryError::ProxyVariable { name, scheme } = error else {
            panic!("{value}: {error:?}")
        };
        assert_eq!((name.as_str(), scheme.as_deref()), ("https_proxy", expected), "{value}");
        for unused in ["http://r.example", "https://localhost"] {
            assert!(
                proxies.for_url(&Url::parse(unused).unwrap()).unwrap().is_none(),
                "{value}"
            );
        }
    }
}

#[test]
fn usual_spellings_of_a_proxy() {
    for (value, url) in [
        ("proxy.example", "http://proxy.example/"),
        ("proxy:3128", "http://proxy:3128/"),
        ("  http://proxy:3128/ ", "http://proxy:3128/"),
        ("https://proxy", "https://proxy/"),
        ("me:p%40ss@proxy:3128", "http://me:p%40ss@proxy:3128/"),
        ("me:p@ss@proxy:3128", "http://me:p%40ss@proxy:3128/"),
        ("socks5://proxy", "socks5h://proxy:1080"),
        ("SOCKS5H://proxy:9050", "socks5h://proxy:9050"),
        ("socks4a://proxy", "socks4a://proxy:1080"),
        ("[2001:db8::1]:3128", "http://[2001:db8::1]:3128/"),
    ] {
        assert_eq!(
            proxy_url(&[("ALL_PROXY", value)], "https://r.example").as_deref(),
            Some(url),
            "{value}"
        );
    }
}

#[test]
fn proxy_is_shown_without_user_and_password() {
    let proxies = proxies(&[("ALL_PROXY", "http://someone:pa55%2Bf00d@proxy.example:3128")]);
    let proxy = proxies
        .for_url(&Url::parse("https://r.example").unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(proxy.name, "proxy.example:3128");
    for shown in [
        format!("{proxies:?}"),
        proxy.refused("r", proxy.credentials_refusal()).to_string(),
    ] {
        assert!(!shown.contains("someone") && !shown.contains("pa55"), "{shown}");
    }
    let secrets: Vec<_> = proxy
        .secrets()
        .iter()
        .map(|secret| secret.reveal().to_owned())
        .collect();
    assert_eq!(secrets, ["pa55%2Bf00d", "pa55+f00d", "c29tZW9uZTpwYTU1K2YwMGQ="]);
}

/// Returns the error of a request through a proxy at this address.
fn failure(scheme: &str, address: SocketAddr, url: &str) -> RegistryError {
    let value = match scheme.split_once("://") {
        Some(_) => format!("{scheme}{address}"),
        None => format!("{scheme}://{address}"),
    };
    let (proxies, url) = (proxies(&[("ALL_PROXY", &value)]), Url::parse(url).unwrap());
    let client = ClientBuilder::new()
        .tls_backend_preconfigured(unverified_config())
        .proxy(proxies.rule())
        .build()
        .unwrap();
    let ask = async || {
        let error = client.get(url.clone()).send().await.unwrap_err();
        let proxy = proxies.for_url(&url).unwrap().unwrap();
        proxy.failure("r.example", &url, &error).await.unwrap()
    };
    Runtime::new(0).unwrap().block_on(ask).unwrap()
}

/// Starts a server that answers the first bytes of each connection with `answer`.
fn serve(answer: impl AsRef<[u8]> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(answer.as_ref()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // Closing a connection with unread bytes would reset it.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    address
}

#[test]
fn proxy_that_does_not_listen_is_unreachable() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["http", "https", "socks4a", "socks5", "socks5h"] {
        for url in ["http://r.example", "https://r.example"] {
            let error = failure(scheme, nobody, url);
            let RegistryError::ProxyUnreachable { proxy, source, .. } = &error else {
                panic!("{scheme} {url}: {error:?}")
            };
            assert_eq!(*proxy, nobody.to_string());
            assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused, "{scheme} {url}");
            assert!(error.is_transient());
        }
    }
}

#[test]
fn proxy_that_sends_nothing_is_unreachable() {
    for (scheme, url) in [("http", "https://r.example"), ("socks5", "http://r.example")] {
        let error = failure(scheme, serve(""), url);
        let is_unreachable = matches!(&error, RegistryError::ProxyUnreachable { .. });
        assert!(is_unreachable, "{scheme}: {error:?}");
    }
}

#[test]
fn transient_statuses_of_an_http_proxy() {
    for (status, is_transient) in [(301, false), (403, false), (404, false), (407, false)]
        .into_iter()
        .chain([(500, true), (501, false), (502, true), (503, true), (504, true)])
    {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let error = failure("http", serve(answer), "https://r.example");
        let RegistryError::ProxyRefused { reason, .. } = &error else {
            panic!("{status}: {error:?}")
        };
        let expected = match status {
            407 => ProxyRefusal::CredentialsWanted,
            status => ProxyRefusal::Status(status),
        };
        assert_eq!((reason, error.is_transient()), (&expected, is_transient), "{status}");
    }
}

/// Compares the texts of hyper-util.
#[test]
fn replies_of_a_socks_proxy() {
    const END: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
    let refusal = |scheme: &str, reply: Vec<u8>| {
        let error = failure(scheme, serve(reply), "http://r.example");
        match error {
            RegistryError::ProxyRefused { reason, .. } => reason,
            error => panic!("{scheme}: {error:?}"),
        }
    };
    for (code, text, is_transient) in [
        (1, "general server failure", true),
        (2, "connection not allowed", false),
        (3, "network unreachable", true),
        (4, "host unreachable", true),
        (5, "connection refused", true),
        (6, "ttl expired", true),
        (7, "command not supported", false),
        (8, "address type not supported", false),
    ] {
        let reason = refusal("socks5", [&[5, 0, 5, code][..], &END].concat());
        assert_eq!(reason.is_transient(), is_transient, "{code}");
        assert_eq!(reason, ProxyRefusal::Socks(text.to_owned()));
    }
    assert_eq!(refusal("socks5", vec![5, 0xff]), ProxyRefusal::CredentialsWanted);
    assert_eq!(refusal("socks5", vec![5, 2]), ProxyRefusal::CredentialsWanted);
    assert_eq!(
        refusal("socks5://me:pass@", vec![5, 0xff]),
        ProxyRefusal::CredentialsRefused
    );
    assert_eq!(
        refusal("socks5://me:pass@", vec![5, 2, 1, 1]),
        ProxyRefusal::CredentialsRefused
    );
    let socks4 = refusal("socks4a", vec![0, 91, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        socks4,
        ProxyRefusal::Socks("server failed to execute command".to_owned())
    );
}

#[test]
fn proxy_without_tls_is_at_fault_for_the_handshake() {
    let plain = serve("HTTP/1.1 400 Bad Request\r\n\r\n");
    for url in ["http://r.example", "https://r.example"] {
        let error = failure("https", plain, url);
        assert!(matches!(error, RegistryError::ProxyTls { .. }), "{error:?}");
    }
}

#[test]
fn no_proxy_supports_domains_addresses_networks_and_ports() {
    let is_direct = |entries: &str, url: &str| {
        let variables = [("ALL_PROXY", "proxy.example"), ("no_proxy", entries)];
        proxy_url(&variables, url).is_none()
    };
    for (entries, url, expected) in [
        ("*", "https://r.example", true),
        ("r.example", "https://r.example", true),
        ("R.Example.", "https://r.example:5000", true),
        ("r.example", "https://eu.r.example", true),
        (".r.example", "https://r.example", true),
        ("*.r.example", "https://eu.r.example", true),
        ("r.example", "https://other.example", false),
        ("r.example", "https://not-r.example", false),
        ("r.example:5000", "https://r.example:5000", true),
        ("r.example:5000", "https://r.example:5001", false),
        ("r.example:443", "https://r.example", true),
        ("r.example:80", "https://r.example", false),
        ("r.example:", "https://r.example", false),
        ("*:5000", "https://r.example:5000", true),
        ("a.example, ,b.example c.example", "https://c.example", true),
        ("10.0.0.1", "http://10.0.0.1:5000", true),
        ("10.0.0.1:5000", "http://10.0.0.1:5000", true),
        ("10.0.0.1:5000", "http://10.0.0.1", false),
        ("10.0.0.0/8", "http://10.1.2.3:5000", true),
        ("10.0.0.0/8", "http://11.0.0.1", false),
        ("10.1.2.3/8", "http://10.9.9.9", true),
        ("0.0.0.0/0", "http://10.9.9.9", true),
        ("0.0.0.0/0", "http://[2001:db8::1]", false),
        ("10.0.0.0/33", "http://10.0.0.0", false),
        ("2001:db8::1", "http://[2001:db8::1]:5000", true),
        ("[2001:db8::1]", "http://[2001:db8::1]:5000", true),
        ("[2001:db8::1]:5000", "http://[2001:db8::1]:5000", true),
        ("[2001:db8::1]:5000", "http://[2001:db8::1]:5001", false),
        ("2001:db8::/32", "http://[2001:db8:1::1]", true),
        ("2001:db8::/32", "http://[2001:db9::1]", false),
        ("0.0.1", "http://10.0.0.1", false),
    ] {
        assert_eq!(is_direct(entries, url), expected, "{entries} {url}");
    }
}
