//! Credentials and tokens: which servers receive them, and how tokens are requested.

use std::fs;

use layer::failure::Failure as _;
use oci::{Credentials, RegistryError, Secret};
use serde_json::{Value, json};

use crate::sources::faults::{CONTENT, answer, layer_digest, one_image, pull, registry_error};
use crate::sources::{State, chain};
use support::layout::TestLayout;
use support::server::{Reply, Request, Server, stored_reply};

/// `user:secret-f00d` in base64.
pub(crate) const PAIR: &str = "dXNlcjpzZWNyZXQtZjAwZA==";

/// Writes a credentials file with an entry for the server.
pub(crate) fn credentials(server: &Server, entry: &Value) -> (tempfile::TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.json");
    let mut auths = serde_json::Map::new();
    auths.insert(server.address.to_string(), entry.clone());
    fs::write(&file, json!({"auths": auths}).to_string()).unwrap();
    (directory, State::with_auth(file))
}

#[test]
fn basic_credentials_are_sent_when_asked_for() {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, |request, _| {
        let is_known = request.authorization() == Some(&format!("Basic {PAIR}"));
        (!is_known).then(|| Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""))
    });
    let (_file, state) = credentials(&server, &json!({"auth": PAIR}));
    assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
    assert_eq!(server.requests().len(), 4, "only the first request is refused");

    let mut in_memory = State::new();
    let with_password = |password: &str| Credentials::basic("user", &Secret::new(password.to_owned()));
    in_memory.registry.credentials = Some(with_password("secret-f00d"));
    assert_eq!(pull(&in_memory, &server.reference("")).unwrap(), CONTENT.as_bytes());
    in_memory = State::new();
    in_memory.registry.credentials = Some(with_password("old-beef"));
    let error = pull(&in_memory, &server.reference("")).unwrap_err();
    let shown = format!("{} {error:?} {:?}", chain(&error), in_memory.registry);
    assert!(
        shown.contains("with the given credentials") && !shown.contains("old-beef"),
        "{shown}"
    );
    assert!(!error.hint().unwrap().to_string().contains("log in"), "{shown}");

    let error = pull(&State::new(), &server.reference("")).unwrap_err();
    let hint = error
        .hint()
        .unwrap()
        .naming(|setting| Some(format!("{setting:?}").into()));
    let login = format!("log in first: Login {{ registry: {:?} }}", server.address.to_string());
    assert!(hint.ends_with(&login), "{hint}");
    assert!(matches!(
        registry_error(error),
        RegistryError::Unauthorized { credentials: None, .. }
    ));
    let (_file, state) = credentials(&server, &json!({"auth": "dXNlcjpvbGQtYmVlZg=="}));
    let error = pull(&state, &server.reference("")).unwrap_err();
    let shown = format!("{} {error:?}", chain(&error));
    assert!(!shown.contains("old-beef") && !shown.contains("dXNlcjpvbGQ"), "{shown}");
    assert!(matches!(
        registry_error(error),
        RegistryError::Unauthorized {
            credentials: Some(_),
            ..
        }
    ));
}

/// Starts a registry that requires a token that begins with `t`, and is its own token server, with
/// the replies of `token`.
fn with_tokens(token: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> (TestLayout, Server) {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, move |request, before| {
        if request.path.starts_with("/token") {
            return Some(token(request, before));
        }
        let is_known = request
            .authorization()
            .is_some_and(|value| value.starts_with("Bearer t"));
        let host = &request.headers["host"];
        let challenge = format!(
            "Bearer realm=\"http://{host}/token?a=b\",service=\"the registry\",scope=\"repository:team/app:pull\""
        );
        (!is_known).then(|| Reply::status(401).with("WWW-Authenticate", challenge))
    });
    (layout, server)
}

#[test]
fn token_is_requested_once_with_the_available_credentials() {
    let token = |name: &'static str| move |_: &Request, _| Reply::json(200, &json!({name: "t1", "expires_in": 300}));
    let (_layout, server) = with_tokens(token("token"));
    assert_eq!(pull(&State::new(), &server.reference("")).unwrap(), CONTENT.as_bytes());
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    assert_eq!(
        requests[1].path,
        "/token?a=b&scope=repository%3Ateam%2Fapp%3Apull&service=the+registry"
    );
    assert_eq!(requests[1].authorization(), None);
    assert_eq!(requests[4].authorization(), Some("Bearer t1"));

    let (_layout, server) = with_tokens(token("access_token"));
    let (_file, state) = credentials(&server, &json!({"auth": PAIR}));
    assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
    assert_eq!(
        server.requests()[1].authorization(),
        Some(format!("Basic {PAIR}").as_str())
    );

    let (_layout, server) = with_tokens(token("access_token"));
    let (_file, state) = credentials(&server, &json!({"auth": PAIR, "identitytoken": "refresh&me"}));
    assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
    let request = &server.requests()[1];
    assert_eq!((request.method.as_str(), request.authorization()), ("POST", None));
    assert_eq!(
        request.body,
        "scope=repository%3Ateam%2Fapp%3Apull&service=the+registry&grant_type=refresh_token&client_id=microagent\
         &refresh_token=refresh%26me"
    );
}

#[test]
fn token_server_errors_are_registry_errors() {
    let fail = |reply: fn() -> Reply| {
        let (_layout, server) = with_tokens(move |_, _| reply());
        let error = pull(&State::new(), &server.reference("")).unwrap_err();
        (registry_error(error), server.count("/token"))
    };
    let (error, count) = fail(|| Reply::status(403));
    assert!(
        matches!(error, RegistryError::Unauthorized { .. }) && count == 1,
        "{error:?} {count}"
    );
    let (error, count) = fail(|| Reply::status(502));
    assert!(
        matches!(error, RegistryError::Server { status: 502, .. }) && count == 5,
        "{error:?} {count}"
    );
    let (error, count) = fail(|| Reply::status(429).with("Retry-After", "90"));
    assert!(
        matches!(error, RegistryError::TooManyRequests { .. }) && count == 1,
        "{error:?} {count}"
    );
    let (error, count) = fail(|| Reply::status(307).with("Location", "http://127.0.0.1:1/"));
    assert!(
        matches!(&error, RegistryError::OtherHost { host, source, .. }
        if host == "127.0.0.1:1" && matches!(**source, RegistryError::Unreachable { .. }))
            && count == 5,
        "{error:?} {count}"
    );
    for body in ["", "{}", r#"{"token": null}"#, r#"{"token": "a\r\nb"}"#] {
        let (_layout, server) = with_tokens(move |_, _| answer(body));
        let error = pull(&State::new(), &server.reference("")).unwrap_err();
        assert!(matches!(registry_error(error), RegistryError::NoToken { .. }), "{body}");
    }
}

#[test]
fn expired_token_is_requested_again() {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, |request, before| {
        if request.path.starts_with("/token") {
            return Some(Reply::json(200, &json!({"token": format!("t{before}")})));
        }
        let is_expired = request.authorization() == Some("Bearer t1") && before > 3;
        let challenge = format!("Bearer realm=\"http://{}/token\"", request.headers["host"]);
        (is_expired || request.authorization().is_none())
            .then(|| Reply::status(401).with("WWW-Authenticate", challenge))
    });
    assert_eq!(pull(&State::new(), &server.reference("")).unwrap(), CONTENT.as_bytes());
    assert_eq!(server.count("/token"), 2);
}

#[test]
fn redirect_to_a_blob_store_carries_no_credentials() {
    let (layout, image) = one_image();
    let blobs = layout.path().join("blobs/sha256");
    let store = Server::start(move |request, _| stored_reply(&blobs, "", request));
    let elsewhere = format!("http://{}/signed/{}", store.address, layer_digest());
    let server = Server::of(&layout, &image, move |request, _| match request.authorization() {
        None => Some(Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\"")),
        Some(_) if request.path.ends_with(&layer_digest()) => {
            Some(Reply::status(307).with("Location", elsewhere.clone()))
        }
        Some(_) => None,
    });
    let (_file, state) = credentials(&server, &json!({"auth": PAIR}));
    assert_eq!(pull(&state, &server.reference("")).unwrap(), CONTENT.as_bytes());
    assert_eq!(store.requests().len(), 1);
    assert_eq!(store.requests()[0].authorization(), None);
}

#[test]
fn challenge_of_a_redirect_target_gets_no_credentials() {
    let attacker = Server::start(|request, _| {
        let challenge = format!("Bearer realm=\"http://{}/token\"", request.headers["host"]);
        Reply::status(401).with("WWW-Authenticate", challenge)
    });
    let (layout, image) = one_image();
    let elsewhere = format!("http://{}/", attacker.address);
    let server = Server::of(&layout, &image, move |_, _| {
        Some(Reply::status(302).with("Location", elsewhere.clone()))
    });
    let (_file, state) = credentials(&server, &json!({"auth": PAIR}));
    let error = pull(&state, &server.reference("")).unwrap_err();
    assert!(matches!(registry_error(error), RegistryError::OtherHost { .. }));
    assert!(
        attacker
            .requests()
            .iter()
            .all(|request| request.authorization().is_none() && request.path == "/")
    );
}
