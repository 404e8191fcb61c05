//! Challenges for credentials: every spelling, unsupported ones, and missing ones.

use serde_json::json;

use super::{Expected, PAIR, Pulled, Refused, Variant, check};
use support::server::{Reply, Request};

/// Returns whether a token server is asked for the repository.
fn asks_for_repository(request: &Request) -> bool {
    request.path.contains("repository%3Ateam%2Fapp%3Apull") || request.path.contains("repository:team/app:pull")
}

/// Starts a registry with these challenges, in which `HOST` stands for its address. It requires a
/// token for the repository.
fn bearer(name: &str, expected: Expected, challenges: &[&str]) -> Variant {
    let challenges = owned(challenges);
    Variant::new(name, expected, move |request, _| {
        if request.path.starts_with("/token") {
            let token = if asks_for_repository(request) { "good" } else { "bad" };
            return Some(Reply::json(200, &json!({"token": token})));
        }
        let is_known = request.authorization() == Some("Bearer good");
        (!is_known).then(|| challenged(request, &challenges))
    })
    .with_password()
}

/// Starts a registry with these challenges. It requires a user and a password.
fn basic(name: &str, expected: Expected, challenges: &[&str]) -> Variant {
    let challenges = owned(challenges);
    Variant::new(name, expected, move |request, _| {
        let is_known = request.authorization() == Some(&format!("Basic {PAIR}"));
        (!is_known).then(|| challenged(request, &challenges))
    })
    .with_password()
}

fn owned(challenges: &[&str]) -> Vec<String> {
    challenges.iter().map(ToString::to_string).collect()
}

/// Returns a `401` with challenges.
fn challenged(request: &Request, challenges: &[String]) -> Reply {
    let host = &request.headers["host"];
    let with = |reply: Reply, challenge: &String| reply.with("WWW-Authenticate", challenge.replace("HOST", host));
    challenges.iter().fold(Reply::status(401), with)
}

/// Variants of challenges for a token. `HOST` stands for the address of the registry.
const BEARER: [(&str, &str); 18] = [
    (
        "as in the specification",
        r#"Bearer realm="http://HOST/token",service="x",scope="repository:team/app:pull""#,
    ),
    ("no scope", r#"Bearer realm="http://HOST/token",service="x""#),
    (
        "an empty scope",
        r#"Bearer realm="http://HOST/token",service="x",scope="""#,
    ),
    (
        "an empty service",
        r#"Bearer realm="http://HOST/token",service="",scope="repository:team/app:pull""#,
    ),
    (
        "a scope that is not a repository",
        r#"Bearer realm="http://HOST/token",service="x",scope="aws""#,
    ),
    (
        "the scope of another repository",
        r#"Bearer realm="http://HOST/token",scope="repository:user/image:pull""#,
    ),
    (
        "several scopes",
        r#"Bearer realm="http://HOST/token",scope="repository:a:pull repository:team/app:pull""#,
    ),
    (
        "no quotes",
        r"Bearer realm=http://HOST/token,service=x,scope=repository:team/app:pull",
    ),
    (
        "an opening quote alone",
        r#"Bearer realm="http://HOST/token,service="x",scope="repository:team/app:pull"#,
    ),
    (
        "a closing quote alone",
        r#"Bearer realm=http://HOST/token",service="x",scope="repository:team/app:pull""#,
    ),
    (
        "no commas",
        r#"Bearer realm="http://HOST/token" service="x" scope="repository:team/app:pull""#,
    ),
    (
        "spaces everywhere",
        r#"Bearer   realm = "http://HOST/token" ,  service = "x" , scope= "" "#,
    ),
    ("other letter case", r#"bearer Realm="http://HOST/token",SERVICE="x""#),
    (
        "a query in the realm",
        r#"Bearer realm="http://HOST/token?a=b&c=d",service="x""#,
    ),
    (
        "user and password in the realm",
        r#"Bearer realm="http://other:word@HOST/token",service="x""#,
    ),
    (
        "letters beyond ASCII in the service",
        r#"Bearer realm="http://HOST/token",service="régistre""#,
    ),
    (
        "Basic before Bearer in one header",
        r#"Basic realm="x", Bearer realm="http://HOST/token",service="x""#,
    ),
    (
        "Negotiate before Bearer in one header",
        r#"Negotiate, Bearer realm="http://HOST/token",service="x""#,
    ),
];

/// Variants of challenges for a user and a password.
const BASIC: [(&str, &str); 5] = [
    ("Basic", r#"Basic realm="x""#),
    ("Basic without a realm", r"Basic"),
    ("Basic with letters beyond ASCII", r#"Basic realm="Régistre d'été""#),
    ("Basic without quotes", r"BASIC realm=Registry Realm"),
    ("Basic after Negotiate", r#"Negotiate, Basic realm="x""#),
];

#[test]
fn challenges_in_every_spelling_are_answered() {
    let mut variants: Vec<_> = BEARER
        .iter()
        .map(|(name, challenge)| bearer(name, Pulled, &[challenge]))
        .collect();
    variants.extend(BASIC.iter().map(|(name, challenge)| basic(name, Pulled, &[challenge])));
    variants.push(basic(
        "Bearer with a name for a realm, and Basic",
        Pulled,
        &["Bearer realm=\"Some Name\"", "Basic"],
    ));
    let after = r#"Bearer realm="http://HOST/token",service="x""#;
    variants.push(bearer(
        "Basic in a header before Bearer",
        Pulled,
        &[r#"Basic realm="x""#, after],
    ));
    variants.push(bearer(
        "Negotiate in a header before Bearer",
        Pulled,
        &["Negotiate", after],
    ));
    check(&variants);
}

#[test]
fn unsupported_challenges_are_refused() {
    let unsupported = |name, words, challenges| basic(name, Refused(words), challenges);
    let realm = r#"Bearer realm="/token",service="x""#;
    check(&[
        unsupported("no challenge", "sends no challenge", &[]),
        unsupported(
            "Digest",
            "its challenge is not supported: Digest realm=",
            &[r#"Digest realm="x",nonce="y""#],
        ),
        unsupported(
            "Bearer without a realm",
            "its challenge is not supported: Bearer service=",
            &[r#"Bearer service="x""#],
        ),
        bearer(
            "a realm that is a path",
            Refused("names the token server \"/token\""),
            &[realm],
        ),
    ]);
}

#[test]
fn challenge_only_at_v2_is_used() {
    let root = |name: &str, status: u16, is_basic: bool, has_password: bool, expected| {
        let registry = Variant::new(name, expected, move |request, _| {
            let host = &request.headers["host"];
            let wanted = if is_basic {
                format!("Basic {PAIR}")
            } else {
                "Bearer good".to_owned()
            };
            if request.path.starts_with("/token") {
                let may = !has_password || request.authorization() == Some(&format!("Basic {PAIR}"));
                let token = if may && asks_for_repository(request) {
                    "good"
                } else {
                    "bad"
                };
                return Some(Reply::json(200, &json!({"token": token})));
            }
            let challenge = if is_basic {
                "Basic realm=\"x\"".to_owned()
            } else {
                format!("Bearer realm=\"http://{host}/token\"")
            };
            match request.path.as_str() {
                _ if request.authorization() == Some(&wanted) => None,
                "/v2/" => Some(Reply::status(401).with("WWW-Authenticate", challenge)),
                _ => Some(Reply::status(status)),
            }
        });
        if has_password {
            registry.with_password()
        } else {
            registry
        }
    };
    check(&[
        root("404, Basic at /v2/", 404, true, true, Pulled),
        root("403, Basic at /v2/", 403, true, true, Pulled),
        root("401 without a challenge, Basic at /v2/", 401, true, true, Pulled),
        root("404, Bearer at /v2/", 404, false, true, Pulled),
        root("403, Bearer at /v2/", 403, false, true, Pulled),
        root("404, Bearer at /v2/, public image", 404, false, false, Pulled),
        root(
            "401 without a challenge, Bearer at /v2/, public image",
            401,
            false,
            false,
            Pulled,
        ),
        root(
            "404, Basic at /v2/, no credentials",
            404,
            true,
            false,
            Refused("has no image team/app:latest"),
        ),
    ]);
}
