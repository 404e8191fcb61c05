//! Servers that repeat credentials, tokens or signatures: the program prints none of them, neither
//! in messages nor in log events.

use std::fs;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::sources::faults::{layer_digest, one_image};
use crate::sources::rootfs_build;
use support::layout::TestLayout;
use support::server::{Reply, Request, Server, stored_reply};

const USER: &str = "someone";
const PASSWORD: &str = "pa\"ss:w0rd+f00d";
const TOKEN: &str = "eyJ0b2tlbiI6.dG9rZW4tZjAwZA";
const SIGNATURE: &str = "5ig/nature+beef";

/// An encoding of a secret.
type Form = fn(&str) -> String;

/// Ways to enable log events: the mode, arguments, and the value of `RUST_LOG`. The first two
/// enable none.
const LOG_SETTINGS: [(&str, &[&str], &str); 4] = [
    ("ux", &[], ""),
    ("ax", &[], ""),
    ("ux", &["-vv"], ""),
    ("ax", &[], "trace"),
];

/// Returns the reply to a request.
type MakeReply = dyn Fn(&Request) -> Reply + Send + Sync;

/// Encodings in which servers repeat secrets, and in which output is searched for them.
const FORMS: [Form; 6] = [
    str::to_owned,
    |text| serde_json::to_string(text).unwrap(),
    percent,
    hex,
    |text| STANDARD.encode(text),
    |text| URL_SAFE_NO_PAD.encode(text),
];

fn percent(text: &str) -> String {
    hex(text).as_bytes().chunks(2).fold(String::new(), |text, digits| {
        text + "%" + &String::from_utf8_lossy(digits).to_uppercase()
    })
}

fn hex(text: &str) -> String {
    let bytes = text.bytes();
    bytes.fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Returns the secrets of a request in an encoding.
fn echo(request: &Request, form: Form) -> String {
    let authorization = request.authorization().unwrap_or_default();
    let pair = authorization.strip_prefix("Basic ").unwrap_or_default();
    let pair = String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap();
    let password = pair.split_once(':').map_or("", |(_, password)| password);
    // The last parameter is the secret one.
    let [query, body] = [&request.path, &request.body].map(|text| text.rsplit('=').next().unwrap());
    [password, authorization, &pair, query, body]
        .iter()
        .map(|part| form(part) + " ")
        .collect()
}

/// Returns a refusal with a message. Its `Retry-After` is too long for another attempt.
fn refusal(status: u16, message: &str) -> Reply {
    let body = json!({"errors": [{"code": "DENIED", "message": message}]});
    Reply::json(status, &body).with("Retry-After", "90")
}

/// Starts a registry that requires HTTP Basic, or a token of its own token endpoint. `reply`
/// answers authorized requests first; for `None`, the endpoint or the image does.
fn registry(
    wants_token: bool,
    reply: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> (TestLayout, Server) {
    let (layout, image) = one_image();
    let server = Server::of(&layout, &image, move |request, _| {
        let host = &request.headers["host"];
        let challenge = if wants_token {
            format!("Bearer realm=\"http://{host}/token\"")
        } else {
            "Basic realm=\"x\"".to_owned()
        };
        if request.authorization().is_none() && request.method == "GET" {
            return Some(Reply::status(401).with("WWW-Authenticate", challenge));
        }
        reply(request).or_else(|| {
            let is_token = request.path.starts_with("/token");
            is_token.then(|| Reply::json(200, &json!({"token": TOKEN})))
        })
    });
    (layout, server)
}

/// Runs builds, which fail, with each of [`LOG_SETTINGS`] and with credentials for the server.
/// Returns everything that they print.
fn build(server: &Server, entry: &serde_json::Value, environment: &[(&str, String)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.json");
    let auths = json!({"auths": {server.address.to_string(): entry}});
    fs::write(&file, auths.to_string()).unwrap();
    let begin = |(number, (mode, arguments, log)): (usize, (_, _, _))| {
        let [out, state] = ["out", "state"].map(|name| directory.path().join(format!("{name}-{number}")));
        let mut build = rootfs_build(&server.reference(""), &out, &state);
        build
            .args(["--allow-mutable", "--mode", mode])
            .args::<&[&str], _>(arguments)
            .env("RUST_LOG", log);
        build.env("REGISTRY_AUTH_FILE", &file).envs(environment.iter().cloned());
        // In parallel, since some pause between attempts.
        let build = build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        (build, arguments, log)
    };
    let builds: Vec<_> = LOG_SETTINGS.into_iter().enumerate().map(begin).collect();
    let mut printed = String::new();
    for (build, arguments, log) in builds {
        let output = build.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert_events(&text(&output), arguments, log);
        printed += &text(&output);
    }
    printed
}

/// Asserts that an output has events of requests exactly if they are enabled. Only with events does
/// a test search them for secrets.
#[track_caller]
fn assert_events(printed: &str, arguments: &[&str], log: &str) {
    let are_enabled = !arguments.is_empty() || !log.is_empty();
    assert_eq!(
        printed.contains("DEBUG oci::registry::events: requested"),
        are_enabled,
        "{printed}"
    );
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr]
        .map(String::from_utf8_lossy)
        .concat()
}

/// Returns a secret that a text contains, in one of its encodings.
fn find_secret(printed: &str) -> Option<String> {
    let pair = format!("{USER}:{PASSWORD}");
    let secrets = [PASSWORD, &pair, &STANDARD.encode(&pair), TOKEN, SIGNATURE];
    let forms = secrets.iter().flat_map(|secret| FORMS.map(|form| form(secret)));
    let printed = printed.to_lowercase();
    let mut forms = forms.map(|form| form.trim_matches('"').to_lowercase());
    forms.find(|form| printed.contains(form))
}

#[track_caller]
fn assert_no_secret(printed: &str) {
    assert!(!printed.is_empty());
    assert_eq!(find_secret(printed), None, "{printed}");
}

/// Returns the entry of a credentials file with user and password.
fn basic() -> serde_json::Value {
    json!({"auth": STANDARD.encode(format!("{USER}:{PASSWORD}"))})
}

#[test]
fn registry_error_that_echoes_credentials_is_redacted() {
    for form in FORMS {
        for (wants_token, path, status) in [
            (false, "/manifests/", 401),
            (false, "/manifests/", 403),
            (false, "/manifests/", 503),
            (true, "/manifests/", 403),
            (true, "/blobs/", 400),
            (true, "/token", 401),
            (true, "/token", 429),
            (true, "/token", 404),
        ] {
            let (_layout, server) = registry(wants_token, move |request| {
                let is_there = request.path.contains(path) && request.authorization().is_some();
                is_there.then(|| refusal(status, &echo(request, form)))
            });
            let printed = build(&server, &basic(), &[]);
            assert_no_secret(&printed);
            assert!(printed.contains(": …"), "{path} {status}: {printed}");
        }
    }
}

#[test]
fn token_server_error_that_echoes_a_refresh_token_is_redacted() {
    for form in FORMS {
        let (_layout, server) = registry(true, move |request| {
            (request.method == "POST").then(|| refusal(403, &echo(request, form)))
        });
        let printed = build(&server, &json!({"identitytoken": PASSWORD}), &[]);
        assert_no_secret(&printed);
        assert!(printed.contains(": …"), "{printed}");
    }
}

#[test]
fn blob_store_error_that_echoes_a_signature_is_redacted() {
    for form in FORMS {
        let store = Server::start(move |request, _| refusal(403, &echo(request, form)));
        let mut url = format!("http://{}/blob?X-Amz-Expires=60&X-Amz-Signature=", store.address);
        url.extend(SIGNATURE.bytes().map(|byte| format!("%{byte:02x}")));
        let (_layout, server) = registry(false, move |request| {
            let is_layer = request.path.ends_with(&layer_digest());
            is_layer.then(|| Reply::status(307).with("Location", url.clone()))
        });
        let printed = build(&server, &basic(), &[]);
        assert_no_secret(&printed);
        assert!(printed.contains("refers to"), "{printed}");
    }
}

#[test]
fn headers_that_echo_credentials_are_redacted() {
    let location = |to: String| Reply::status(307).with("Location", to);
    let challenge = |realm: String| Reply::status(401).with("WWW-Authenticate", format!("Bearer realm=\"{realm}\""));
    let hex = |request: &Request| echo(request, FORMS[3]).split(' ').next().unwrap().to_owned();
    let digest = |digest: String| Reply::json(200, &json!({})).with("Docker-Content-Digest", digest);
    let replies: [Box<MakeReply>; 6] = [
        Box::new(move |request| location(format!("http://{}.invalid/", hex(request)))),
        Box::new(move |request| location(format!("x{}:/", hex(request)))),
        Box::new(move |request| challenge(format!("http://127.0.0.1:1/{}", hex(request)))),
        Box::new(move |request| challenge(format!("http://{}.invalid/", hex(request)))),
        Box::new(move |request| digest(hex(request))),
        Box::new(move |request| digest(format!("{}:x", hex(request)))),
    ];
    for reply in replies {
        let (_layout, server) = registry(false, move |request| {
            request.path.contains("/manifests/").then(|| reply(request))
        });
        assert_no_secret(&build(&server, &basic(), &[]));
    }
}

#[test]
fn login_refusal_that_echoes_the_password_is_redacted() {
    for form in FORMS {
        for wants_token in [false, true] {
            let (_layout, server) = registry(wants_token, move |request| Some(refusal(401, &echo(request, form))));
            let home = tempfile::tempdir().unwrap();
            let password = home.path().join("password");
            fs::write(&password, PASSWORD).unwrap();
            for (mode, arguments, log) in LOG_SETTINGS {
                let mut login = Command::new(env!("CARGO_BIN_EXE_microagent"));
                login.args(["--mode", mode, "registry", "login", &server.address.to_string()]);
                login
                    .args(["-u", USER, "--password-stdin"])
                    .args(arguments)
                    .env("RUST_LOG", log);
                login.env("HOME", home.path()).env_remove("REGISTRY_AUTH_FILE");
                login.stdin(Stdio::from(fs::File::open(&password).unwrap()));
                let output = login.output().unwrap();
                assert_eq!(output.status.code(), Some(1), "{}", text(&output));
                assert_no_secret(&text(&output));
                assert_events(&text(&output), arguments, log);
            }
        }
    }
}

#[test]
fn userinfo_in_a_realm_is_neither_sent_nor_shown() {
    for (realm, is_asked) in [
        ("http://someone:pa55-f00d@{host}/token", true),
        ("http://pa55-f00d@{host}/token", true),
        ("ftp://someone:pa55-f00d@{host}/token", false),
        ("//someone:pa55-f00d@{host}/token", false),
        ("x:someone:pa55-f00d@{host}/token", false),
    ] {
        let (layout, image) = one_image();
        let server = Server::of(&layout, &image, move |request, _| {
            if request.path.starts_with("/token") {
                return Some(Reply::json(200, &json!({})));
            }
            let realm = realm.replace("{host}", &request.headers["host"]);
            Some(Reply::status(401).with("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")))
        });
        let printed = build(&server, &json!({}), &[]);
        assert!(!printed.contains("pa55-f00d"), "{printed}");
        let requests = server.requests();
        assert_eq!(
            requests.iter().any(|request| request.path.starts_with("/token")),
            is_asked
        );
        assert!(
            requests.iter().all(|request| request.authorization().is_none()),
            "{requests:?}"
        );
    }
}

/// A build with a token, and with a layer behind a signed URL.
#[test]
fn successful_download_logs_events_without_secrets() {
    let (layout, image) = one_image();
    let blobs = layout.path().join("blobs/sha256");
    let store = Server::start(move |request, _| {
        let name = request.path.rsplit(['/', '?']).nth(1).unwrap();
        assert_eq!(format!("sha256:{name}"), layer_digest(), "{request:?}");
        Reply::body(fs::read(blobs.join(name)).unwrap())
    });
    // The path of a URL can be a secret like its query.
    let path = percent(SIGNATURE).replace('%', "");
    let to = format!(
        "http://{}/{path}/{}?Signature={path}",
        store.address,
        &layer_digest()[7..]
    );
    let server = Server::of(&layout, &image, move |request, _| {
        let host = &request.headers["host"];
        if request.path.starts_with("/token") {
            return Some(Reply::json(200, &json!({"token": TOKEN, "expires_in": 300})));
        }
        if request.authorization().is_none() {
            let realm = format!("Bearer realm=\"http://{USER}:{PASSWORD}@{host}/token?key={path}\"");
            let challenge = realm.replace("a\"s", "as") + ",service=\"registry\",scope=\"repository:x:pull\"";
            return Some(Reply::status(401).with("WWW-Authenticate", challenge));
        }
        let is_layer = request.path.ends_with(&layer_digest());
        is_layer.then(|| Reply::status(307).with("Location", to.clone()))
    });
    for entry in [basic(), json!({"identitytoken": PASSWORD})] {
        let printed = build(&server, &entry, &[]);
        assert_no_secret(&printed);
        for event in [
            "answers the challenge registry=",
            "with=\"a token for ",
            "auth.json",
            "challenged realm=http://127.0.0.1",
            "service=registry",
            "got a token realm=http://127.0.0.1",
            "expires_in_s=300",
            "authorization=bearer",
            "redirected from=http://127.0.0.1",
            &format!("to=http://{}/… status=307", store.address),
            "downloaded digest=sha256:",
            "TRACE oci::registry::download: received",
        ] {
            assert!(printed.contains(event), "{event}: {printed}");
        }
        assert!(!printed.to_lowercase().contains("signature="), "{printed}");
    }
}

#[test]
fn userinfo_in_a_redirect_is_neither_sent_nor_shown() {
    let blobs = one_image();
    let path = blobs.0.path().join("blobs/sha256");
    let store = Server::start(move |request, _| match request.authorization() {
        None => stored_reply(&path, "", request),
        Some(_) => Reply::status(400),
    });
    let to = format!("http://someone:pa55-f00d@{}/{}", store.address, layer_digest());
    let server = Server::of(&blobs.0, &blobs.1, move |request, _| {
        let is_layer = request.path.ends_with(&layer_digest());
        is_layer.then(|| Reply::status(307).with("Location", to.clone()))
    });
    let printed = build(&server, &json!({}), &[]);
    assert!(
        printed.contains("not a tar archive"),
        "the layer is downloaded, and is not a tar: {printed}"
    );
    assert!(!printed.contains("pa55-f00d"), "{printed}");
}

/// One proxy refuses, one does not listen, and one has no address.
#[test]
fn proxy_password_is_not_shown_when_the_proxy_fails() {
    let directory = tempfile::tempdir().unwrap();
    let refuses = Server::start(|request, _| refusal(407, &echo(request, FORMS[0])));
    let mut builds = Vec::new();
    for proxy in ["127.0.0.1:1", &refuses.address.to_string(), "no-proxy.invalid:1"] {
        for (scheme, plain) in [("http", "--plain-http=true"), ("https", "--plain-http=false")] {
            for (mode, arguments, log) in LOG_SETTINGS {
                let [out, state] = ["out", "state"].map(|name| directory.path().join(name));
                let mut build = rootfs_build("registry.invalid/a/b:c", &out, &state);
                build
                    .args(["--allow-mutable", plain, "--mode", mode])
                    .args(arguments)
                    .env("RUST_LOG", log);
                let variable = format!("{scheme}_proxy");
                for name in ["HOME", "NO_PROXY", "no_proxy", "REGISTRY_AUTH_FILE"] {
                    build.env_remove(name);
                }
                let url = format!("http://{USER}:{}@{proxy}", PASSWORD.replace('"', "%22"));
                build.env(variable.to_uppercase(), &url).env(variable, &url);
                // In parallel, since each pauses between attempts.
                let build = build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                builds.push((build, arguments, log));
            }
        }
    }
    for (build, arguments, log) in builds {
        let output = build.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert_events(&text(&output), arguments, log);
        assert_no_secret(&text(&output));
        assert!(!text(&output).contains("w0rd"), "{}", text(&output));
    }
}
