use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::reference::Reference;

fn find(content: &str, reference: &str) -> Result<Option<String>, AuthError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    let Reference::Registry(image) = Reference::parse(reference).unwrap() else {
        panic!("no registry")
    };
    let shown = |credentials| match credentials {
        AuthMethod::Basic(pair) => String::from_utf8(STANDARD.decode(pair.reveal()).unwrap()).unwrap(),
        AuthMethod::IdentityToken { token, .. } => format!("token {}", token.reveal()),
        AuthMethod::RegistryToken(token) => format!("registry token {}", token.reveal()),
    };
    let files = AuthFiles {
        named: Some(file.path().to_owned()),
        default: None,
    };
    let found = files.find(&image)?;
    Ok(found.credentials.map(|(credentials, _)| shown(credentials)))
}

fn auths(entries: &[(&str, &str)]) -> String {
    let entry = |(key, pair): &(&str, &str)| ((*key).to_owned(), json!({"auth": STANDARD.encode(pair)}));
    json!({"auths": entries.iter().map(entry).collect::<serde_json::Map<String, Value>>()}).to_string()
}

#[test]
fn the_most_specific_key_wins() {
    let file = auths(&[
        ("a.example", "host:1"),
        ("a.example/team", "team:1"),
        ("a.example/team/app", "app:1"),
        ("a.example:5000", "port:1"),
        ("docker.io/library", "library:1"),
        ("https://index.docker.io/v1/", "hub:a:b"),
        ("https://b.example", "url:1"),
    ]);
    for (reference, credentials) in [
        ("a.example/other", Some("host:1")),
        ("a.example/teams/app", Some("host:1")),
        ("a.example/team/x/y", Some("team:1")),
        ("a.example/team/app:tag", Some("app:1")),
        ("a.example:5000/team/app", Some("port:1")),
        ("debian", Some("library:1")),
        ("user/name", Some("hub:a:b")),
        ("b.example/x", Some("url:1")),
        ("c.example/x", None),
    ] {
        assert_eq!(find(&file, reference).unwrap().as_deref(), credentials, "{reference}");
    }
}

#[test]
fn names_of_docker_hub() {
    for host in [
        "docker.io",
        "index.docker.io",
        "registry-1.docker.io",
        "Index.Docker.IO",
    ] {
        for scheme in ["", "http://", "https://", "HTTPS://"] {
            for path in ["", "/", "/v1", "/v1/", "/v2/"] {
                let key = format!("{scheme}{host}{path}");
                for image in ["debian", "index.docker.io/library/debian", "registry-1.docker.io/a/b"] {
                    let found = find(&auths(&[(&key, "hub:1")]), image).unwrap();
                    assert_eq!(found.as_deref(), Some("hub:1"), "{key} for {image}");
                }
                assert_eq!(find(&auths(&[(&key, "hub:1")]), "a.example/x").unwrap(), None);
            }
        }
        let found = find(&auths(&[(&format!("{host}/library"), "hub:1")]), "debian");
        assert_eq!(found.unwrap().as_deref(), Some("hub:1"), "{host}");
    }
    for key in [
        "registry.hub.docker.com",
        "docker.io.example",
        "ftp://docker.io",
        "docker.io/v2/x",
    ] {
        assert_eq!(find(&auths(&[(key, "hub:1")]), "debian").unwrap(), None, "{key}");
    }
}

#[test]
fn canonical_key_wins_over_other_spellings() {
    for (file, credentials) in [
        (&[("https://a.example", "url:1"), ("a.example", "name:1")][..], "name:1"),
        (&[("https://a.example", "url:1"), ("A.example", "upper:1")], "upper:1"),
        (&[("a.example/v2/", "v2:1"), ("a.example/v1/", "v1:1")], "v1:1"),
        (&[("A.example/team/", "team:1"), ("a.example", "name:1")], "team:1"),
        (
            &[("https://a.example/team", "url:1"), ("a.example/te", "no:1")],
            "url:1",
        ),
    ] {
        assert_eq!(
            find(&auths(file), "a.example/team/app").unwrap().as_deref(),
            Some(credentials)
        );
    }
    for empty in [json!({}), json!(null), json!({"auth": ""}), json!({"username": "u"})] {
        for key in ["docker.io", "docker.io/library/debian", "registry-1.docker.io"] {
            let file = json!({"auths": {key: empty, "https://index.docker.io/v1/": {"auth": "dTpw"}}});
            assert_eq!(
                find(&file.to_string(), "debian").unwrap().as_deref(),
                Some("u:p"),
                "{file}"
            );
        }
    }
}

#[test]
fn invalid_entry_of_another_registry_is_ignored() {
    let broken = [
        json!("c2VjcmV0"),
        json!(["c2VjcmV0"]),
        json!({"auth": 1}),
        json!({"auth": "c2VjcmV0"}),
    ];
    for entry in broken {
        let file = json!({
            "auths": {"a.example": {"auth": "dTpw"}, "b.example": entry},
            "credHelpers": {"a.example": 1}, "credsStore": [], "HttpHeaders": 1
        });
        assert_eq!(
            find(&file.to_string(), "a.example/x").unwrap().as_deref(),
            Some("u:p"),
            "{file}"
        );
        let error = find(&file.to_string(), "b.example/x").unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("\"b.example\"") && !shown.contains("c2VjcmV0"),
            "{shown}"
        );
    }
}

#[test]
fn files_of_an_unknown_form_are_refused() {
    for content in [
        "[]",
        "[{\"a.example\": {}}]",
        "{\"auths\": []}",
        "{\"credHelpers\": []}",
        "1",
        "\"a\"",
        "{",
    ] {
        let error = find(content, "a.example/x").unwrap_err();
        assert!(matches!(error, AuthError::Json { .. }), "{content}: {error:?}");
    }
    let mark = format!("\u{feff}{}", auths(&[("a.example", "u:p")]));
    assert_eq!(find(&mark, "a.example/x").unwrap().as_deref(), Some("u:p"));
    assert_eq!(find("\u{feff}\r\n", "a.example/x").unwrap(), None);
}

#[test]
fn identity_tokens_and_empty_entries() {
    let file = json!({
        "auths": {"a.example": {"auth": STANDARD.encode("u:"), "identitytoken": "t0k"}, "b.example": {}},
        "credHelpers": {"b.example": "would-run"}, "credsStore": "would-run-too"
    });
    assert_eq!(
        find(&file.to_string(), "a.example/x").unwrap().as_deref(),
        Some("token t0k")
    );
    assert_eq!(find(&file.to_string(), "b.example/x").unwrap(), None);
    assert_eq!(find("{}", "b.example/x").unwrap(), None);
}

#[test]
fn null_counts_as_missing() {
    let pair = json!({"auth": STANDARD.encode("u:p"), "identitytoken": null, "email": null});
    for (content, credentials) in [
        (Value::Null, None),
        (json!({"auths": null, "credHelpers": null, "credsStore": null}), None),
        (json!({"auths": {"a.example": null}}), None),
        (
            json!({"auths": {"a.example": {"auth": null}}, "credHelpers": {"a.example": null}}),
            None,
        ),
        (
            json!({"auths": {"b.example": null, "a.example": pair}, "credsStore": null}),
            Some("u:p"),
        ),
    ] {
        let found = find(&content.to_string(), "a.example/x").unwrap();
        assert_eq!(found.as_deref(), credentials, "{content}");
    }
}

#[test]
fn errors_of_broken_files_show_no_secret() {
    let wrong_type = json!({"auths": {"a.example": {"auth": ["c2VjcmV0OnNlY3JldA=="]}, "b": "c2VjcmV0OnNlY3JldA=="}});
    let no_colon = auths(&[("a.example", "c2VjcmV0")]);
    let no_base64 = json!({"auths": {"a.example": {"auth": "c2VjcmV0 c2VjcmV0"}}});
    let no_user = auths(&[("a.example", ":c2VjcmV0")]);
    for content in [
        wrong_type.to_string(),
        no_colon,
        no_base64.to_string(),
        no_user,
        "c2VjcmV0".to_owned(),
    ] {
        let error = find(&content, "a.example/x").unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("c2VjcmV0") && !shown.contains("secret"), "{shown}");
    }
    let Reference::Registry(image) = Reference::parse("a.example/x").unwrap() else {
        panic!("no registry")
    };
    let missing = AuthFiles {
        named: Some("/nonexistent/auth.json".into()),
        default: None,
    };
    assert!(matches!(missing.find(&image).err(), Some(AuthError::Read { .. })));
}

fn image(reference: &str) -> RegistryReference {
    match Reference::parse(reference).unwrap() {
        Reference::Registry(image) => image,
        other => panic!("{other}"),
    }
}

#[test]
fn default_file_is_read_second_and_may_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| Some(directory.path().join(name));
    fs::write(
        path("named").unwrap(),
        auths(&[("a.example", "a:1"), ("b.example/x", "b:1")]),
    )
    .unwrap();
    fs::write(
        path("default").unwrap(),
        auths(&[("a.example", "a:2"), ("b.example", "b:2")]),
    )
    .unwrap();
    let from = |default: &str, reference: &str| {
        let files = AuthFiles {
            named: path("named"),
            default: path(default),
        };
        let found = files.find(&image(reference)).unwrap();
        found
            .credentials
            .map(|(_, file)| file.file_name().unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(from("default", "a.example/x").as_deref(), Some("named"));
    assert_eq!(from("default", "b.example/x/y").as_deref(), Some("named"));
    assert_eq!(from("default", "b.example/z").as_deref(), Some("default"));
    assert_eq!(from("missing", "b.example/z"), None);
}

#[test]
fn helpers_are_named_and_never_executed() {
    let helper = |content: &Value, reference: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content.to_string()).unwrap();
        let files = AuthFiles {
            named: Some(file.path().to_owned()),
            default: None,
        };
        files.find(&image(reference)).unwrap().helper.map(|helper| helper.name)
    };
    let own = json!({"credHelpers": {"a.example": "gcloud", "https://index.docker.io/v1/": "hub"}});
    assert_eq!(helper(&own, "a.example/x").as_deref(), Some("gcloud"));
    assert_eq!(helper(&own, "debian").as_deref(), Some("hub"));
    assert_eq!(helper(&own, "b.example/x"), None);
    let store = json!({"credsStore": "desktop"});
    assert_eq!(helper(&store, "b.example/x").as_deref(), Some("desktop"));
    for none in [
        json!({"credsStore": ""}),
        json!({"credHelpers": {"b.example": null}}),
        json!({"credHelpers": {"b.example": ""}}),
    ] {
        assert_eq!(helper(&none, "b.example/x"), None);
    }
}
