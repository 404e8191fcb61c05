use std::fs;

use super::*;

fn value(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn target(text: &str) -> LoginTarget {
    LoginTarget::parse(text).unwrap()
}

fn users(file: &AuthFile) -> Vec<(String, String)> {
    let pair = |login: Login| (login.registry, login.user.unwrap_or_default());
    file.logins().unwrap().into_iter().map(pair).collect()
}

#[test]
fn json_has_no_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let file = AuthFile::new(directory.path().join("auth.json"));
    let password = Secret::new("password".to_owned());
    file.add(&target("a.example"), "me", &password).unwrap();
    let logins = serde_json::to_string(&file.logins().unwrap()).unwrap();
    let path = file.path().display();
    let expected = format!(r#"[{{"auth_file":"{path}","registry":"a.example","user":"me"}}]"#);
    assert_eq!(logins, expected.replace('\\', "\\\\"));
}

#[test]
fn login_targets_are_spelled_as_in_references() {
    for (text, key, registry) in [
        ("ghcr.io", "ghcr.io", "ghcr.io"),
        ("GHCR.io/", "ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io", "ghcr.io"),
        ("localhost:5000", "localhost:5000", "localhost:5000"),
        ("localhost", "localhost", "localhost"),
        ("[::1]:5000", "[::1]:5000", "[::1]:5000"),
        ("docker.io", "docker.io", "docker.io"),
        ("HTTPS://GHCR.io:443/v2/", "ghcr.io:443", "ghcr.io:443"),
        ("http://x.y", "x.y", "x.y"),
        ("docker://x.y", "x.y", "x.y"),
        ("x.y/v1/", "x.y", "x.y"),
        ("https://x.y/team/", "x.y/team", "x.y"),
        ("quay.io/team", "quay.io/team", "quay.io"),
        ("quay.io/team/app", "quay.io/team/app", "quay.io"),
    ] {
        let target = target(text);
        assert_eq!((target.as_str(), target.registry.as_str()), (key, registry), "{text}");
    }
    for text in [
        "",
        "ghcr",
        "team/app",
        "ftp://x.y",
        "x.y?z",
        "a b.c",
        "u@h.x",
        "x.y:0",
        "x.y/Team",
    ] {
        assert!(LoginTarget::parse(text).is_err(), "{text}");
    }
    for (text, why) in [
        ("me:s3cret@ghcr.io", "omit user and password"),
        ("https://me:s3@cret@ghcr.io/x", "omit user and password"),
        ("https://ghcr.io/v2/?token=s3cret", "omit what begins with ?"),
        ("ghcr.io#s3cret", "omit what begins with ?"),
    ] {
        let error = LoginTarget::parse(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("ghcr.io") && shown.contains(why), "{shown}");
        assert!(!shown.contains("s3") && !shown.contains("cret"), "{shown}");
    }
}

#[test]
fn plain_http_is_recorded_except_for_this_machine() {
    for (text, is_plain) in [
        ("http://x.y", true),
        ("HTTP://x.y/v2/", true),
        ("https://x.y", false),
        ("x.y", false),
        ("http://localhost:5000", false),
        ("http://127.0.0.1:5000", false),
    ] {
        assert_eq!(target(text).is_plain_http(), is_plain, "{text}");
    }
}

/// Returns the spellings of a registry that stand for its canonical name.
fn spellings(registry: &str) -> Vec<String> {
    let names: &[&str] = match registry {
        "docker.io" => &["docker.io", "index.docker.io", "registry-1.docker.io", "Docker.IO"],
        name => &[name, &name.to_ascii_uppercase()],
    };
    let mut spellings = Vec::new();
    for name in names {
        for scheme in ["", "HTTP://", "https://"] {
            for path in ["", "/v1/", "/v2"] {
                spellings.push(format!("{scheme}{name}{path}"));
            }
        }
    }
    spellings
}

#[test]
fn login_replaces_and_logout_removes_every_spelling() {
    let directory = tempfile::tempdir().unwrap();
    for registry in ["docker.io", "a.example:5000"] {
        let path = directory.path().join(format!("{}.json", registry.len()));
        let file = AuthFile::new(path.clone());
        let spellings = spellings(registry);
        for spelling in &spellings {
            let others = spellings.iter().map(|key| (key.clone(), json!({"auth": "b2xkOng="})));
            let mut auths: Map<String, Value> = others.collect();
            auths.insert("other.example".to_owned(), json!({}));
            fs::write(&path, json!({"auths": auths}).to_string()).unwrap();
            let password = Secret::new("p".to_owned());
            file.add(&target(spelling), "new", &password).unwrap();
            let user = |key: &str, user: &str| (key.to_owned(), user.to_owned());
            let kept = [user(registry, "new"), user("other.example", "")];
            assert_eq!(users(&file), kept, "{spelling}");

            fs::write(&path, json!({"auths": auths}).to_string()).unwrap();
            assert!(file.remove(&target(spelling)).unwrap(), "{spelling}");
            assert_eq!(
                users(&file),
                [("other.example".to_owned(), String::new())],
                "{spelling}"
            );
            assert!(!file.remove(&target(spelling)).unwrap(), "{spelling}");
        }
    }
}

#[test]
fn a_namespace_is_not_the_whole_registry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    let file = AuthFile::new(path.clone());
    let keys = [
        "a.example",
        "A.example/team",
        "a.example/team/",
        "a.example/team/app",
        "https://a.example/team",
    ];
    let auths: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), json!({}))).collect();
    fs::write(&path, json!({"auths": auths}).to_string()).unwrap();
    assert!(file.remove(&target("a.example/team")).unwrap());
    let left: Vec<_> = users(&file).into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, ["a.example", "a.example/team/app", "https://a.example/team"]);
    assert!(file.remove(&target("a.example")).unwrap());
    assert_eq!(users(&file), [("a.example/team/app".to_owned(), String::new())]);
}

#[test]
fn other_entries_and_unknown_fields_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/auth.json");
    let file = AuthFile::new(path.clone());
    assert!(!file.remove(&target("a.example")).unwrap());
    assert!(!path.exists());
    file.add(&target("a.example"), "one", &Secret::new("p".to_owned()))
        .unwrap();
    let mut content = value(&path);
    content["credHelpers"] = json!({"b.example": "helper"});
    content["auths"]["a.example"]["unknown"] = json!(1);
    content["auths"]["https://index.docker.io/v1/"] = json!({"auth": STANDARD.encode("hub:x")});
    fs::write(&path, content.to_string()).unwrap();

    file.add(&target("c.example/team"), "two", &Secret::new("p:q".to_owned()))
        .unwrap();
    let content = value(&path);
    assert_eq!(content["credHelpers"], json!({"b.example": "helper"}));
    assert_eq!(content["auths"]["a.example"]["unknown"], 1);
    assert_eq!(content["auths"]["c.example/team"]["auth"], STANDARD.encode("two:p:q"));

    file.add(&target("docker.io"), "three", &Secret::new("p".to_owned()))
        .unwrap();
    let user = |name: &str, user: &str| (name.to_owned(), user.to_owned());
    assert_eq!(
        users(&file),
        [
            user("a.example", "one"),
            user("c.example/team", "two"),
            user("docker.io", "three")
        ]
    );
    assert!(file.remove(&target("a.example")).unwrap());
    assert!(!file.remove(&target("a.example")).unwrap());
    assert_eq!(users(&file).len(), 2);
}

#[test]
fn null_counts_as_empty_and_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    let file = AuthFile::new(path.clone());
    for (before, others) in [
        (Value::Null, json!({})),
        (json!({"auths": null}), json!({})),
        (
            json!({"auths": null, "credHelpers": null, "credsStore": null}),
            json!({}),
        ),
        (
            json!({"auths": {"b.example": null, "c.example": {"auth": null}}}),
            json!({"b.example": null, "c.example": {"auth": null}}),
        ),
    ] {
        fs::write(&path, before.to_string()).unwrap();
        assert!(users(&file).iter().all(|(_, user)| user.is_empty()));
        assert!(!file.remove(&target("a.example")).unwrap());
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            before.to_string(),
            "nothing is changed"
        );
        file.add(&target("a.example"), "one", &Secret::new("p".to_owned()))
            .unwrap();
        let after = value(&path);
        let mut expected = if before.is_null() { json!({}) } else { before };
        expected["auths"] = others;
        expected["auths"]["a.example"] = json!({"auth": STANDARD.encode("one:p")});
        assert_eq!(after, expected);
        assert!(file.remove(&target("a.example")).unwrap());
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("auth.json"), directory.path().join("link"));
    fs::write(&path, " \n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    symlink(&path, &link).unwrap();
    AuthFile::new(link.clone())
        .add(&target("a.example"), "one", &Secret::new("p".to_owned()))
        .unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(users(&AuthFile::new(path)).len(), 1);
}

#[test]
fn concurrent_logins_are_all_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = AuthFile::new(directory.path().join("auth.json"));
    thread::scope(|scope| {
        for nr in 0..8 {
            let file = &file;
            scope.spawn(move || {
                let password = Secret::new("p".to_owned());
                file.add(&target(&format!("r{nr}.example")), "u", &password).unwrap();
            });
        }
    });
    assert_eq!(users(&file).len(), 8);
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "the file and its lock");
}

#[test]
fn wait_for_the_lock_ends_at_its_limit_or_when_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    let mut file = AuthFile::new(path.clone());
    let add = |file: &AuthFile| file.add(&target("a.example"), "u", &Secret::new("p".to_owned()));
    add(&file).unwrap();
    let lock = directory.path().join("auth.json.lock");
    let held = File::options().write(true).open(lock).unwrap();
    held.try_lock().unwrap();
    file.wait.max_wait = Duration::from_millis(50);
    let error = add(&file).unwrap_err();
    assert!(
        matches!(&error, AuthError::Held { path, .. } if path.ends_with("auth.json.lock")),
        "{error}"
    );

    let cancel = Cancel::new();
    cancel.cancel();
    let waiting = AuthFile::new(path).with_lock_wait(&cancel, |_| {});
    assert!(matches!(add(&waiting), Err(AuthError::Cancelled(_))));
    drop(held);
    add(&waiting).unwrap();
}

#[test]
fn file_of_an_unknown_form_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    for content in ["[]", "{\"auths\": []}", "{", "secret"] {
        fs::write(&path, content).unwrap();
        assert!(matches!(
            AuthFile::new(path.clone()).logins(),
            Err(AuthError::Json { .. })
        ));
        let error = AuthFile::new(path.clone())
            .add(&target("a.example"), "u", &Secret::new("p".to_owned()))
            .unwrap_err();
        assert!(matches!(error, AuthError::Json { .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}
