//! Token servers, messages of servers that refuse, and logins.

use layer::cancel::Cancel;
use layer::events::Events;
use oci::{ImageError, LoginCheck, LoginTarget, RegistryError, RegistryOptions, Secret, check_login};
use serde_json::json;

use super::{Expected, PAIR, Pulled, Refused, Variant, check};
use support::server::{Reply, Request, Server};

/// Starts a registry that requires the token `good`. Its token server is `/token` on the same host,
/// with the replies of `token`.
fn token_variant(
    name: &str,
    expected: Expected,
    token: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> Variant {
    Variant::new(name, expected, move |request, before| {
        if request.path.starts_with("/token") {
            return Some(token(request, before));
        }
        let challenge = format!(
            "Bearer realm=\"http://{}/token\",service=\"x\"",
            request.headers["host"]
        );
        let is_known = request.authorization() == Some("Bearer good");
        (!is_known).then(|| Reply::status(401).with("WWW-Authenticate", challenge))
    })
}

fn good() -> Reply {
    Reply::json(200, &json!({"token": "good"}))
}

/// Returns a token if the request has the user and the password.
fn token_for_user(request: &Request) -> Reply {
    if request.authorization() == Some(&format!("Basic {PAIR}")) {
        good()
    } else {
        Reply::status(401)
    }
}

/// Starts a registry whose token server has moved, permanently or temporarily.
fn moved(status: u16) -> Variant {
    token_variant(
        &format!("a token server with {status} to the same origin"),
        Pulled,
        move |request, _| {
            if request.path.starts_with("/token/new") {
                return token_for_user(request);
            }
            let query = request.path.split_once('?').map_or("", |(_, query)| query);
            Reply::status(status).with("Location", format!("/token/new?{query}"))
        },
    )
    .with_password()
}

/// Starts a registry whose token server refuses POST with a status.
fn without_post(status: u16) -> Variant {
    let entry = json!({"auth": PAIR, "identitytoken": "refresh-me"});
    token_variant(
        &format!("an identity token, {status} to POST"),
        Pulled,
        move |request, _| match request.method.as_str() {
            "POST" => Reply::status(status),
            _ if request.authorization().is_some_and(|value| value.starts_with("Basic ")) => good(),
            _ => Reply::status(401),
        },
    )
    .with_entry(entry)
}

/// Another origin could choose the target of a redirect back, and so who receives credentials.
#[test]
fn credentials_are_not_sent_after_a_redirect_back_from_another_origin() {
    let back = Server::start(|request, _| {
        let to = request.path.rsplit("to=").next().unwrap();
        Reply::status(307).with("Location", format!("http://{to}/token/back"))
    });
    let to = back.address;
    let registry = token_variant("", Refused(""), move |request, _| {
        let host = &request.headers["host"];
        match request.path.as_str() {
            "/token/back" if request.authorization().is_some() => good(),
            "/token/back" => Reply::status(401),
            _ => Reply::status(307).with("Location", format!("http://{to}/?to={host}")),
        }
    })
    .with_password();
    assert!(registry.pull().is_err());
    assert_eq!(registry.server.count("/token/back"), 1);
    assert!(back.requests().iter().all(|request| request.authorization().is_none()));
}

#[test]
fn token_server_variants_are_supported() {
    let elsewhere = Server::start(|request, _| match request.authorization() {
        None => good(),
        Some(_) => Reply::status(400),
    });
    let elsewhere = format!("http://{}/", elsewhere.address);
    check(&[
        token_variant("access_token in place of token", Pulled, |_, _| {
            Reply::json(200, &json!({"access_token": "good"}))
        }),
        token_variant("an empty token beside access_token", Pulled, |_, _| {
            Reply::json(200, &json!({"token": "", "access_token": "good", "expires_in": null}))
        }),
        token_variant("a token server with 307 to another origin", Pulled, move |_, _| {
            Reply::status(307).with("Location", elsewhere.clone())
        }),
        moved(301),
        moved(302),
        moved(307),
        moved(308),
        token_variant("an identity token", Pulled, |request, _| {
            let is_known = request.method == "POST" && request.body.contains("refresh_token=refresh-me");
            if is_known { good() } else { Reply::status(401) }
        })
        .with_entry(json!({"auth": PAIR, "identitytoken": "refresh-me"})),
        without_post(401),
        without_post(404),
        without_post(405),
        without_post(501),
    ]);
}

/// Starts a registry whose first token expires, and whose later challenges name another realm, at
/// which no server listens. `first_works`: the first realm continues to issue tokens.
fn another_realm(name: &str, is_public: bool, first_works: bool) -> Variant {
    Variant::new(name, Pulled, move |request, before| {
        let host = &request.headers["host"];
        if request.path.starts_with("/token") {
            let works = first_works || before < 3;
            let token = || Reply::json(200, &json!({"token": format!("t{before}")}));
            return Some(if works { token() } else { Reply::status(404) });
        }
        let realm = if before < 3 {
            format!("http://{host}/token")
        } else {
            "http://127.0.0.1:1/token".to_owned()
        };
        let is_old = request.authorization() == Some("Bearer t1") && before > 3;
        let is_refused = is_old || (request.authorization().is_none() && !(is_public && before > 3));
        is_refused.then(|| Reply::status(401).with("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")))
    })
}

#[test]
fn an_expired_token_is_renewed_at_the_first_realm_or_dropped() {
    check(&[
        another_realm("a token expires, another realm, the first one works", false, true),
        another_realm("a token expires, no realm works, a public image", true, false),
    ]);
}

#[test]
fn token_may_need_the_scope_of_another_repository() {
    check(&[Variant::new(
        "the scope of another repository is required as well",
        Pulled,
        |request, _| {
            if request.path.starts_with("/token") {
                let has_both = request.path.contains("team%2Fapp") && request.path.contains("mirror%2Fapp");
                return Some(Reply::json(
                    200,
                    &json!({"token": if has_both { "good" } else { "small" }}),
                ));
            }
            let challenge = format!(
                "Bearer realm=\"http://{}/token\",scope=\"repository:mirror/app:pull\",error=\"insufficient_scope\"",
                request.headers["host"]
            );
            let is_known = request.authorization() == Some("Bearer good");
            (!is_known).then(|| Reply::status(401).with("WWW-Authenticate", challenge))
        },
    )]);
}

#[test]
fn refusals_include_the_message_of_the_server() {
    let refuses = |name: &str, status: u16, body: &'static str, words: &'static str| {
        Variant::new(name, Refused(words), move |_, _| {
            Some(Reply::Answer {
                status,
                headers: Vec::new(),
                body: body.into(),
            })
        })
    };
    let portal = Server::start(|_, _| Reply::body("<html><title>Sign in</title>"));
    let to = format!("http://{}/", portal.address);
    let portal = Variant::new(
        "a redirect to a web page",
        Refused("with the title \"Sign in\""),
        move |_, _| Some(Reply::status(302).with("Location", to.clone())),
    );
    check(&[
        portal,
        refuses(
            "errors[].message",
            403,
            r#"{"errors": [{"code": "DENIED", "message": "pay first"}]}"#,
            "pay first",
        ),
        refuses(
            "errors[].detail",
            403,
            r#"{"errors": [{"code": "DENIED", "detail": "pay first"}]}"#,
            "pay first",
        ),
        refuses("details", 403, r#"{"details": "pay first"}"#, "pay first"),
        refuses(
            "error_description",
            400,
            r#"{"error": "x", "error_description": "pay first"}"#,
            "pay first",
        ),
        refuses(
            "a web page",
            403,
            "<html><title>Blocked by IT</title></html>",
            "Blocked by IT",
        ),
        refuses(
            "a web page in place of an image",
            200,
            "<!DOCTYPE html><title>Sign in</title>",
            "with the title \"Sign in\"",
        ),
        refuses(
            "404 with a message",
            404,
            r#"{"errors": [{"message": "manifest unknown"}]}"#,
            "has no image team/app:latest: manifest unknown",
        ),
        refuses("404 without a message", 404, "", "has no image team/app:latest"),
        token_variant("a token server refuses", Refused("wrong password?"), |_, _| {
            Reply::json(401, &json!({"details": "wrong password?"}))
        })
        .with_password(),
        token_variant(
            "a message with the password in it",
            Refused("auth.json: …"),
            |_, _| Reply::json(401, &json!({"details": "secret-f00d is wrong"})),
        )
        .with_password(),
    ]);
}

/// Checks a login at a server with these replies.
fn login(handle: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Result<LoginCheck, RegistryError> {
    let server = Server::start(handle);
    let target = LoginTarget::parse(&server.address.to_string()).unwrap();
    let options = RegistryOptions::default();
    let password = Secret::new("secret-f00d".to_owned());
    check_login(&target, "user", &password, &options, &Events::default(), &Cancel::new()).map_err(|error| match error {
        ImageError::Registry(error) => error,
        other => panic!("{other:?}"),
    })
}

#[test]
fn login_blames_the_password_only_after_a_401_with_it() {
    let is_known = |request: &Request| request.authorization() == Some(&format!("Basic {PAIR}"));
    let challenge = || Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\"");
    let accepted = login(move |request, _| {
        if is_known(request) {
            Reply::status(200)
        } else {
            challenge()
        }
    });
    assert_eq!(accepted.unwrap(), LoginCheck::Accepted);
    assert!(matches!(
        login(move |_, _| challenge()),
        Err(RegistryError::LoginRefused { .. })
    ));
    assert!(matches!(
        login(|_, _| Reply::status(403)),
        Err(RegistryError::LoginUndecided { .. })
    ));
    let page = || Reply::body("<html><title>Sign in</title>");
    assert!(matches!(login(move |_, _| page()), Err(RegistryError::WebPage { title, .. }) if title == "Sign in"));
    assert!(matches!(
        login(|_, _| Reply::status(401)),
        Err(RegistryError::NoChallenge { .. })
    ));
    let forbidden = login(move |request, _| {
        if is_known(request) {
            Reply::status(403)
        } else {
            challenge()
        }
    });
    assert!(matches!(forbidden, Err(RegistryError::LoginUndecided { .. })));
    let token_server = |status| {
        login(move |request, _| {
            let realm = format!("Bearer realm=\"http://{}/token\"", request.headers["host"]);
            if request.path.starts_with("/token") {
                Reply::status(status)
            } else {
                Reply::status(401).with("WWW-Authenticate", realm)
            }
        })
    };
    assert!(matches!(token_server(401), Err(RegistryError::LoginRefused { .. })));
    assert!(matches!(token_server(400), Err(RegistryError::LoginUndecided { .. })));
    assert!(matches!(
        token_server(404),
        Err(RegistryError::UnexpectedStatus { status: 404, .. })
    ));
}
