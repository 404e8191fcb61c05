//! Logins: from a `401` to an image, credentials of other tools, and connections over TLS, through
//! a proxy, or over plain HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use oci::AuthFile;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sources::faults::{CONTENT, one_image, pull};
use crate::sources::tokens::credentials;
use support::layout::{TestLayout, digest, named};
use support::registry::{PASSWORD, Registry, USER};
use support::server::{Reply, Request, Server};
#[cfg(unix)]
use support::wait::eventually;

/// [`USER`] and [`PASSWORD`] in base64.
const PAIR: &str = "c29tZW9uZTpwYXNzOndvcmQtZjAwZA==";

/// A user with a home directory.
struct User {
    home: TempDir,
    /// Everything that the user's commands printed.
    printed: String,
}

impl User {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            printed: String::new(),
        }
    }

    fn auth_file(&self) -> PathBuf {
        self.home.path().join(".microagent/auth.json")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microagent"));
        command.args(arguments).env("HOME", self.home.path());
        for variable in [
            "REGISTRY_AUTH_FILE",
            "MICROAGENT_MODE",
            "SSL_CERT_FILE",
            "MICROAGENT_OUTPUT",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// Returns the command of a build.
    fn build(&self, reference: &str, more: &[&str]) -> Command {
        let out = self.home.path().join("out.ext4");
        let mut command = self.command(&[
            "rootfs",
            "build",
            "--arch",
            "amd64",
            "--init",
            "none",
            "--allow-mutable",
        ]);
        command
            .args(["--image", reference, "--size-mib", "64", "--out"])
            .arg(out);
        command.args(more);
        command
    }

    fn run(&mut self, command: &mut Command) -> Output {
        self.run_with_input(command, "")
    }

    fn run_with_input(&mut self, command: &mut Command, input: &str) -> Output {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that refuses its arguments may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        self.printed += &String::from_utf8_lossy(&output.stdout);
        self.printed += &String::from_utf8_lossy(&output.stderr);
        output
    }

    fn login(&mut self, registry: &str, password: &str) -> Output {
        let mut command = self.command(&["registry", "login", registry, "-u", USER, "--password-stdin"]);
        self.run_with_input(&mut command, password)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Creates a layout with an image of one empty layer, tagged `latest`.
fn image() -> (TestLayout, Value) {
    let layout = TestLayout::new();
    let tar = "\0".repeat(1024);
    let image = layout.image("linux/amd64", &[&tar]);
    layout.publish(&[named(image.clone(), "latest")]);
    (layout, image)
}

#[test]
fn hint_of_a_401_leads_to_a_login_and_an_image() {
    let Some(registry) = Registry::start(true) else { return };
    let (layout, _) = image();
    let pusher = registry.login();
    let authfile = ["--authfile", pusher.to_str().unwrap()];
    registry.push(&layout.reference(":latest"), "private:1", &authfile);
    let reference = registry.reference("private:1");

    let mut user = User::new();
    let mut build = user.build(&reference, &[]);
    let refused = user.run(&mut build);
    assert_eq!(refused.status.code(), Some(1));
    let hint = format!("microagent registry login {} -u <user>", registry.host);
    assert!(text(&refused.stderr).contains(&hint), "{}", text(&refused.stderr));

    let wrong = user.login(&registry.host, "wrong-beef");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("does not accept this user with this password"));
    assert!(!user.auth_file().exists());

    let login = user.login(&registry.host, &format!("{PASSWORD}\n"));
    assert!(login.status.success(), "{}", text(&login.stderr));
    let stored: Value = serde_json::from_slice(&fs::read(user.auth_file()).unwrap()).unwrap();
    assert_eq!(stored, json!({"auths": {registry.host.clone(): {"auth": PAIR}}}));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(user.auth_file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let mut list = user.command(&["registry", "ls", "--json"]);
    let printed = user.run(&mut list).stdout;
    let library = AuthFile::new(user.auth_file()).logins().unwrap();
    let library = serde_json::to_string(&library).unwrap();
    assert_eq!(text(&printed), format!("{{\"logins\":{library}}}\n"));
    let list: Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(list["logins"][0]["registry"], registry.host);
    assert_eq!(list["logins"][0]["user"], USER);

    let done = user.run(&mut build);
    assert!(done.status.success(), "{}", text(&done.stderr));

    let mut logout = user.command(&["registry", "logout", &registry.host]);
    assert!(user.run(&mut logout).status.success());
    assert_eq!(user.run(&mut logout).status.code(), Some(1));
    fs::remove_dir_all(user.home.path().join(".microagent/blobs")).unwrap();
    assert_eq!(user.run(&mut build).status.code(), Some(1));

    for secret in [PASSWORD, PAIR, "wrong-beef"] {
        assert!(!user.printed.contains(secret), "{}", user.printed);
        let found = Command::new("grep")
            .args(["-rqF", secret])
            .arg(user.home.path())
            .status()
            .unwrap();
        assert_eq!(found.code(), Some(1), "{secret} is in a file");
    }
}

/// Starts a registry with a token server, which accepts [`PAIR`].
fn with_tokens() -> (TestLayout, Server) {
    let (layout, image) = image();
    let server = Server::of(&layout, &image, |request: &Request, _| {
        if request.path.starts_with("/token") {
            let is_known = request.authorization() == Some(&format!("Basic {PAIR}"));
            return Some(if is_known {
                Reply::json(200, &json!({"token": "t"}))
            } else {
                Reply::status(401)
            });
        }
        let challenge = format!(
            "Bearer realm=\"http://{}/token\",service=\"s\"",
            request.headers["host"]
        );
        match request.authorization() {
            Some("Bearer t") if request.path == "/v2/" => Some(Reply::status(200)),
            Some("Bearer t") => None,
            _ => Some(Reply::status(401).with("WWW-Authenticate", challenge)),
        }
    });
    (layout, server)
}

#[test]
fn login_at_a_token_registry_requests_no_repository_scope() {
    let (_layout, server) = with_tokens();
    let registry = server.address.to_string();
    let mut user = User::new();
    assert_eq!(user.login(&registry, "wrong-beef").status.code(), Some(1));
    assert!(!user.auth_file().exists());
    let login = user.login(&registry, PASSWORD);
    assert!(login.status.success(), "{}", text(&login.stderr));
    let requests = server.requests();
    let token = requests
        .iter()
        .rfind(|request| request.path.starts_with("/token"))
        .unwrap();
    assert_eq!(token.path, "/token?service=s");
    let mut build = user.build(&server.reference(""), &[]);
    let done = user.run(&mut build);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(!user.printed.contains(PASSWORD));
}

#[test]
fn login_with_each_spelling_of_a_registry_serves_the_next_build() {
    let (_layout, server) = with_tokens();
    let host = server.address.to_string();
    let port = server.address.port();
    let reference = server.reference("");
    let local = reference.replace(&host, &format!("localhost:{port}"));
    let spellings = [
        (host.clone(), &host, &reference),
        (format!("{host}/"), &host, &reference),
        (format!("{host}/v2/"), &host, &reference),
        (format!("http://{host}"), &host, &reference),
        (format!("https://{host}"), &host, &reference),
        (format!("https://{host}/v1/"), &host, &reference),
        (format!("HTTPS://{host}/v2/"), &host, &reference),
        (format!("docker://{host}"), &host, &reference),
        (format!("{host}/team"), &format!("{host}/team"), &reference),
        (
            format!("https://{host}/team/app/"),
            &format!("{host}/team/app"),
            &reference,
        ),
        (format!("LocalHost:{port}/v2"), &format!("localhost:{port}"), &local),
    ];
    for (spelling, key, reference) in spellings {
        let mut user = User::new();
        fs::create_dir(user.home.path().join(".microagent")).unwrap();
        let old = json!({"auth": "b2xkOmJlZWY="});
        let old = json!({"auths": {format!("https://{key}/v2/"): old, format!("{key}/"): old, "other.example": old}});
        fs::write(user.auth_file(), old.to_string()).unwrap();
        let login = user.login(&spelling, PASSWORD);
        assert!(login.status.success(), "{spelling}: {}", text(&login.stderr));
        let stored: Value = serde_json::from_slice(&fs::read(user.auth_file()).unwrap()).unwrap();
        assert_eq!(stored["auths"][key], json!({"auth": PAIR}), "{spelling}: {stored}");
        let mut build = user.build(reference, &[]);
        let done = user.run(&mut build);
        assert!(done.status.success(), "{spelling}: {}", text(&done.stderr));

        let mut logout = user.command(&["registry", "logout", &spelling]);
        assert!(user.run(&mut logout).status.success(), "{spelling}");
        let again = user.run(&mut logout);
        assert_eq!(again.status.code(), Some(1), "{spelling}");
        assert!(
            text(&again.stderr).contains(&format!("no credentials for {key}")),
            "{}",
            text(&again.stderr)
        );
        let mut list = user.command(&["registry", "ls", "--text"]);
        assert!(text(&user.run(&mut list).stdout).contains("other.example"));
    }
}

#[test]
fn credential_entries_of_other_tools_are_read() {
    let basic = |pair: &str| (format!("Basic {pair}"), "Basic realm=\"x\"");
    let bearer = (
        "Bearer as-it-is".to_owned(),
        "Bearer realm=\"https://127.0.0.1:1/token\"",
    );
    for (entry, (sent, challenge)) in [
        (json!({"auth": "c29tZW9uZTpw\r\nYXNzOndvcmQtZjAwZA==\n"}), basic(PAIR)),
        (json!({"auth": PAIR.trim_end_matches('=')}), basic(PAIR)),
        (json!({"auth": "dTrk/w=="}), basic("dTrk/w==")),
        (json!({"auth": "dTrk_w"}), basic("dTrk/w==")),
        (json!({"username": USER, "password": PASSWORD}), basic(PAIR)),
        (json!({"auth": PAIR, "username": "x", "password": "y"}), basic(PAIR)),
        // Without a token server, the pair is used, and not the identity token.
        (json!({"auth": PAIR, "identitytoken": "t"}), basic(PAIR)),
        (json!({"registrytoken": "as-it-is"}), bearer),
    ] {
        let (layout, image) = one_image();
        let expected = sent.clone();
        let server = Server::of(&layout, &image, move |request, _| {
            let is_known = request.authorization() == Some(&expected);
            (!is_known).then(|| Reply::status(401).with("WWW-Authenticate", challenge))
        });
        let (_file, state) = credentials(&server, &entry);
        let pulled = pull(&state, &server.reference(""));
        assert_eq!(pulled.unwrap(), CONTENT.as_bytes(), "{entry}");
    }
}

#[test]
fn the_hint_after_a_failed_login_names_login() {
    let wants_password = Server::start(|_, _| Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""));
    let has_no_api = Server::start(|_, _| Reply::status(404));
    let (refuses, no_registry) = (wants_password.address, has_no_api.address);
    let speaks_no_tls = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = speaks_no_tls.local_addr().unwrap();
    thread::spawn(move || {
        for stream in speaks_no_tls.incoming() {
            let mut stream = stream.unwrap();
            // Unread data could reset the connection before the client reads the reply.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let mut user = User::new();
    let login = "microagent registry login";
    for (server, more, hint, command) in [
        (refuses, &[][..], "check the user and the password", login.to_owned()),
        (no_registry, &[], "this may not be a registry", login.to_owned()),
        (
            plain,
            &["--plain-http=false"],
            "plain HTTP works with --plain-http",
            format!("{login} --plain-http"),
        ),
    ] {
        let host = server.to_string();
        let mut command_line = vec!["registry", "login", &host, "--username", USER, "--password-stdin"];
        command_line.extend(more);
        let output = user.run_with_input(&mut user.command(&command_line), "wrong-beef\r\n");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(hint), "{stderr}");
        assert!(stderr.contains(&format!("{command} {host} -u <user>")), "{stderr}");
        assert!(!stderr.contains("private image"), "{stderr}");
    }
    let mut usage = user.command(&["--mode", "ax", "registry", "login", "team", "-u", "me"]);
    let stderr = text(&user.run(&mut usage).stderr);
    assert!(stderr.contains("run microagent registry login --help"), "{stderr}");
}

#[test]
fn login_reports_whether_the_password_was_checked() {
    let (_layout, asks) = with_tokens();
    let never_asks = Server::start(|request, _| Reply::status(if request.path == "/v2/" { 200 } else { 404 }));
    for (server, checked) in [(&asks, true), (&never_asks, false)] {
        let registry = server.address.to_string();
        let mut user = User::new();
        for format in ["--json", "--text"] {
            let mut command = user.command(&[format, "registry", "login", &registry, "-u", USER, "--password-stdin"]);
            let login = user.run_with_input(&mut command, PASSWORD);
            assert!(login.status.success(), "{}", text(&login.stderr));
            let stdout = text(&login.stdout);
            if format == "--json" {
                let json: Value = serde_json::from_str(&stdout).unwrap();
                assert_eq!(json["checked"], checked, "{json}");
            } else {
                assert_eq!(stdout.contains("not checked"), !checked, "{stdout}");
                assert_eq!(stdout.contains("logged in"), checked, "{stdout}");
            }
        }
        let stored: Value = serde_json::from_slice(&fs::read(user.auth_file()).unwrap()).unwrap();
        assert_eq!(stored, json!({"auths": {registry.clone(): {"auth": PAIR}}}));
        let mut list = user.command(&["registry", "ls", "--json"]);
        let list: Value = serde_json::from_slice(&user.run(&mut list).stdout).unwrap();
        assert_eq!(list["logins"][0].get("checked"), None);
    }
    let mut requests = never_asks.requests().into_iter();
    assert!(
        requests.all(|request| request.authorization().is_none()),
        "credentials that are not asked for are not sent"
    );
}

#[test]
fn invalid_login_arguments_send_no_request() {
    let mut user = User::new();
    for (registry, password) in [
        ("team", "x"),
        ("http://a.b/c", "x"),
        ("https://me:x@127.0.0.1:1", "x"),
        ("127.0.0.1:1/v2/?a=b", "x"),
        ("127.0.0.1:1", ""),
        ("127.0.0.1:1", "\n"),
        ("127.0.0.1:1", &"x".repeat((64 << 10) + 1)),
    ] {
        let output = user.login(registry, password);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(!registry.starts_with("http:") || text(&output.stderr).contains("--plain-http"));
    }
    let mut command = user.command(&["registry", "login", "a.b", "-u", "x:y", "--password-stdin"]);
    assert_eq!(user.run(&mut command).status.code(), Some(2));
    assert!(!user.auth_file().exists());
}

/// Runs a command, and panics if it takes longer than a minute.
#[cfg(unix)]
fn run_within_a_minute(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    if !eventually(|| child.try_wait().unwrap().is_some()) {
        child.kill().unwrap();
        panic!("{command:?} hangs");
    }
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn endless_password_is_refused() {
    let user = User::new();
    let mut command = user.command(&["registry", "login", "127.0.0.1:1", "-u", USER, "--password-stdin"]);
    command.stdin(Stdio::from(fs::File::open("/dev/zero").unwrap()));
    let output = run_within_a_minute(&mut command);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("longer than 64 KiB"),
        "{}",
        text(&output.stderr)
    );
}

#[cfg(unix)]
#[test]
fn fifo_or_device_in_place_of_certificates_is_refused() {
    let user = User::new();
    let fifo = user.home.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for (path, kind) in [(fifo.as_path(), "FIFO"), (Path::new("/dev/zero"), "device")] {
        let path = path.to_str().unwrap();
        let mut commands = vec![user.build("127.0.0.1:1/a", &["--tls-ca", path])];
        if cfg!(target_os = "linux") {
            let login = ["registry", "login", "127.0.0.1:1", "-u", USER, "--password-stdin"];
            for mut command in [user.build("127.0.0.1:1/a", &[]), user.command(&login)] {
                command.env("SSL_CERT_FILE", path);
                commands.push(command);
            }
        }
        for command in &mut commands {
            let password = user.home.path().join("password");
            fs::write(&password, PASSWORD).unwrap();
            command.stdin(Stdio::from(fs::File::open(&password).unwrap()));
            let output = run_within_a_minute(command);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(
                stderr.contains(path) && stderr.contains(&format!("is a {kind}")),
                "{stderr}"
            );
            assert!(stderr.contains("BEGIN CERTIFICATE"), "{stderr}");
        }
    }
}

#[test]
fn credential_helper_is_not_executed_but_reported() {
    let (layout, image) = image();
    let is_private = |request: &Request| request.path.contains("/private/");
    let server = Server::of(&layout, &image, move |request, _| {
        is_private(request).then(|| Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\""))
    });
    let mut user = User::new();
    let file = user.home.path().join("config.json");
    fs::write(
        &file,
        json!({"credHelpers": {server.address.to_string(): "trap"}}).to_string(),
    )
    .unwrap();
    let trap = user.home.path().join("docker-credential-trap");
    let executed = user.home.path().join("executed");
    fs::write(&trap, format!("#!/bin/sh\ntouch {}\n", executed.display())).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let warning = "leaves credentials to the helper docker-credential-trap, which is never executed";
    for (reference, status) in [
        (server.reference(""), 0),
        (format!("{}/private/app", server.address), 1),
    ] {
        let mut build = user.build(&reference, &[]);
        build
            .env("REGISTRY_AUTH_FILE", &file)
            .env("PATH", format!("{}:/usr/bin:/bin", user.home.path().display()));
        let output = user.run(&mut build);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(warning), "{}", text(&output.stderr));
    }
    assert!(!executed.exists());
}

#[test]
fn a_registry_is_trusted_if_its_authority_is() {
    let Some(registry) = Registry::start_with_tls() else {
        return;
    };
    let (layout, _) = image();
    registry.push(&layout.reference(":latest"), "app:1", &[]);
    let reference = registry.reference("app:1");
    let authority = registry.authority().display().to_string();
    let mut user = User::new();
    let mut attempt = |more: &[&str], variable: Option<&Path>| {
        let _ = fs::remove_dir_all(user.home.path().join(".microagent"));
        let mut build = user.build(&reference, more);
        if let Some(file) = variable {
            build.env("SSL_CERT_FILE", file);
        }
        let output = user.run(&mut build);
        (output.status.code(), text(&output.stderr))
    };
    let succeeds = |(status, stderr): (Option<i32>, String)| assert_eq!(status, Some(0), "{stderr}");
    succeeds(attempt(&["--tls-ca", &authority], None));
    succeeds(attempt(&["--tls-verify=false"], None));
    if cfg!(target_os = "linux") {
        succeeds(attempt(&["--plain-http=false"], Some(&registry.authority())));
    }

    let fails = |(status, stderr): (Option<i32>, String), word: &str| {
        assert!(status == Some(1) && stderr.contains(word), "{stderr}");
    };
    fails(attempt(&[], None), "--plain-http=false");
    fails(attempt(&["--plain-http=false"], None), "--tls-ca <file>");
    fails(attempt(&["--tls-ca", "/nonexistent"], None), "/nonexistent");
    let no_pem = registry.directory.path().join("config.yml").display().to_string();
    fails(attempt(&["--tls-ca", &no_pem], None), "BEGIN CERTIFICATE");

    let login = [
        "registry",
        "login",
        &registry.host,
        "-u",
        USER,
        "--password-stdin",
        "--plain-http=false",
    ];
    let login = user.run_with_input(&mut user.command(&login), PASSWORD);
    let hint = format!("microagent registry login --tls-ca <file> {} -u <user>", registry.host);
    fails((login.status.code(), text(&login.stderr)), &hint);
}

/// Only on Linux are the system's certificates in files.
#[cfg(target_os = "linux")]
#[test]
fn machine_without_certificates_can_only_use_plain_http() {
    let (layout, image) = image();
    let server = Server::of(&layout, &image, |_, _| None);
    let reference = format!("{}/app@{}", server.address, digest(&image));
    let mut user = User::new();
    let nowhere = user.home.path().join("none");
    for file in [&*nowhere, Path::new("/dev/null")] {
        for (more, status) in [(&[][..], 0), (&["--plain-http=false"], 1)] {
            let mut build = user.build(&reference, more);
            build.env("SSL_CERT_FILE", file).env("SSL_CERT_DIR", &nowhere);
            let output = user.run(&mut build);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(status), "{stderr}");
            assert!(status == 0 || stderr.contains("CA certificates"), "{stderr}");
            let _ = fs::remove_dir_all(user.home.path().join(".microagent"));
        }
    }
}

#[test]
fn remote_registry_is_reached_through_the_proxy() {
    let (layout, image) = image();
    let proxy = Server::of(&layout, &image, |_, _| None);
    let mut user = User::new();
    let reference = format!("registry.example/team/app@{}", digest(&image));
    for (no_proxy, status) in [("", 0), ("registry.example", 1)] {
        let _ = fs::remove_dir_all(user.home.path().join(".microagent"));
        let mut build = user.build(&reference, &["--plain-http"]);
        build
            .env("HTTP_PROXY", format!("http://{}", proxy.address))
            .env("http_proxy", format!("http://{}", proxy.address))
            .env("NO_PROXY", no_proxy)
            .env("no_proxy", no_proxy);
        let output = user.run(&mut build);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    }
    let requests = proxy.requests();
    assert_eq!(requests.len(), 3);
    assert!(
        requests[0]
            .path
            .starts_with("http://registry.example/v2/team/app/manifests/")
    );
}
