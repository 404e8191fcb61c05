//! Pulls from registries with every kind of certificate and TLS version, compared with skopeo's.
//!
//! OpenSSL serves the registries. The program must pull whenever skopeo does, unless its TLS
//! library lacks support for something. Then its message names that.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use support::layout::{TestLayout, digest};
use support::program::{repository, rootfs_build};
use support::registry::has_tools;
use support::skip::print_uncaptured;
use support::tools::output;

/// Options of `openssl req -newkey` for an elliptic curve.
const P256: &str = "ec -pkeyopt ec_paramgen_curve:prime256v1";
const P521: &str = "ec -pkeyopt ec_paramgen_curve:secp521r1";
/// Value of a subjectAltName for this machine.
const LOOPBACK: &str = "IP:127.0.0.1,DNS:localhost";

/// Configuration of `openssl ca`, the only command of OpenSSL 3.0 that accepts arbitrary dates for
/// a certificate.
const CA_CONFIG: &str = "[ca]\ndefault_ca = this\n[this]\ndatabase = index\nunique_subject = no\nrand_serial = yes\n\
                         new_certs_dir = .\ndefault_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n";

/// Dates of certificates: a past and a future one.
const PAST: &str = "20240301120000Z";
const FUTURE: &str = "20990301120000Z";

/// Expected result of a pull.
#[derive(Clone, Copy)]
enum Outcome {
    /// Both the program and skopeo succeed.
    Pulls,
    /// Both fail. The program's error has this cause and this hint.
    Refuses(&'static str, &'static str),
    /// The program fails with this cause and this hint. Skopeo succeeds, unless its version is too
    /// recent.
    LacksSupport(&'static str, &'static str),
}

use Outcome::{LacksSupport, Pulls, Refuses};

/// A server, the trusted certificates, and the expected result.
struct Case {
    name: &'static str,
    /// Options of `tests/rig/tls_server.py`.
    server: &'static str,
    /// Name of the file with the trusted certificates; empty if none are.
    trusted: &'static str,
    outcome: Outcome,
}

const fn case(name: &'static str, server: &'static str, trusted: &'static str, outcome: Outcome) -> Case {
    Case {
        name,
        server,
        trusted,
        outcome,
    }
}

const TRUST_IT: &str = "if you trust this very certificate, pass it with --tls-ca <file>";
const TRUST_AUTHORITY: &str =
    "if its certificate is of an authority of your own, pass the authority's certificate with --tls-ca <file>";
const OTHER_KEY: &str = "certificate with a key on P-256 or P-384, of Ed25519, or of RSA with 2048 bits or more";
const REFUSED: &str = "it refused the handshake: its cipher suites or the curve of its certificate, such as P-521, are \
                       not supported here, or it requires a client certificate";

const CASES: [Case; 29] = [
    case("own authority", "leaf", "authority.pem", Pulls),
    case("several authorities in a file", "leaf", "several.pem", Pulls),
    case("authority in between", "under", "authority.pem", Pulls),
    case("only TLS 1.2", "leaf --max 1.2", "authority.pem", Pulls),
    case("self-signed, trusted", "self", "self.pem", Pulls),
    case("self-signed, one of several", "self", "several.pem", Pulls),
    case("signed by an authority, trusted itself", "leaf", "leaf.pem", Pulls),
    case(
        "authority's certificate, trusted itself",
        "sub-authority",
        "sub-authority.pem",
        Pulls,
    ),
    case(
        "authority's certificate",
        "sub-authority",
        "authority.pem",
        LacksSupport(
            "its certificate is that of an authority (CA:TRUE), not of a server",
            TRUST_IT,
        ),
    ),
    case(
        "self-signed",
        "self",
        "",
        Refuses(
            "its certificate is self-signed, and not one of those that are trusted here",
            TRUST_IT,
        ),
    ),
    case(
        "self-signed, an unrelated one trusted",
        "self",
        "unrelated.pem",
        Refuses(
            "its certificate is self-signed, and not one of those that are trusted here",
            TRUST_IT,
        ),
    ),
    case(
        "unknown authority",
        "leaf",
        "",
        Refuses(
            "its certificate is signed by an unknown authority (CA): Test-Authority",
            TRUST_AUTHORITY,
        ),
    ),
    case(
        "unknown authority above another",
        "under",
        "self.pem",
        Refuses(
            "its certificate is signed by an unknown authority (CA): Test-Authority",
            TRUST_AUTHORITY,
        ),
    ),
    case(
        "another authority of the same name",
        "leaf",
        "namesake.pem",
        Refuses(
            "the authority that its certificate names did not sign it: Test-Authority",
            "check the file with the authority's certificate",
        ),
    ),
    case(
        "expired",
        "expired",
        "authority.pem",
        Refuses(
            "its certificate expired on 2024-03-01 12:00 UTC (it is 2",
            "ask its operator to renew the certificate",
        ),
    ),
    case(
        "expired, trusted itself",
        "expired",
        "expired.pem",
        Refuses(
            "its certificate expired on 2024-03-01 12:00 UTC (it is 2",
            "ask its operator to renew the certificate",
        ),
    ),
    case(
        "authority in between expired",
        "under-expired",
        "authority.pem",
        Refuses(
            "the certificate of its authority expired on 2024-03-01 12:00 UTC (it is 2",
            "ask its operator to renew the certificate",
        ),
    ),
    case(
        "not yet valid",
        "future",
        "authority.pem",
        Refuses(
            "its certificate is not valid before 2099-03-01 12:00 UTC (it is 2",
            "check this machine's clock",
        ),
    ),
    case(
        "wrong name",
        "named",
        "authority.pem",
        Refuses(
            "its certificate is not for 127.0.0.1, but for registry.example, *.example, 192.0.2.1",
            "name it as its certificate does",
        ),
    ),
    case(
        "wrong name, trusted itself",
        "named",
        "named.pem",
        Refuses(
            "its certificate is not for 127.0.0.1, but for registry.example",
            "check the host",
        ),
    ),
    case(
        "no name",
        "nameless",
        "authority.pem",
        Refuses(
            "its certificate does not name 127.0.0.1 or any other host: it has no subjectAltName",
            "with the host as subjectAltName",
        ),
    ),
    case(
        "not for servers",
        "client",
        "authority.pem",
        Refuses("its certificate is not for servers", "extended key usage serverAuth"),
    ),
    case(
        "P-521",
        "p521",
        "p521.pem",
        LacksSupport(REFUSED, "keys on P-256 or P-384"),
    ),
    case("P-521 preferred to another", "p521 leaf-rsa", "several.pem", Pulls),
    case(
        "authority with P-521",
        "under-p521",
        "p521.pem",
        LacksSupport(
            "the certificate of its authority has a key on the curve P-521, which is not supported",
            OTHER_KEY,
        ),
    ),
    case(
        "RSA with 1024 bits",
        "short",
        "short.pem",
        LacksSupport(
            "its certificate has an RSA key of 1024 bits, which is not supported",
            OTHER_KEY,
        ),
    ),
    case(
        "client certificate wanted",
        "leaf --verify authority.pem",
        "authority.pem",
        Refuses(
            "it requires a client certificate",
            "client certificates are not supported",
        ),
    ),
    case(
        "client certificate wanted in TLS 1.2",
        "leaf --max 1.2 --verify authority.pem",
        "authority.pem",
        Refuses(REFUSED, "see the server's log"),
    ),
    case(
        "only TLS 1.1",
        "leaf --max 1.1",
        "authority.pem",
        LacksSupport(
            "it speaks neither TLS 1.2 nor TLS 1.3",
            "ask its operator to enable TLS 1.2 or 1.3",
        ),
    ),
];

#[test]
fn certificates_are_accepted_as_by_skopeo() {
    if !has_tools() {
        return;
    }
    let files = Files::create();
    let mut table = String::from("certificate, result of the program, result of skopeo\n");
    let mut wrong = String::new();
    for Case {
        name,
        server,
        trusted,
        outcome,
    } in CASES
    {
        let server = Server::start(&files, server);
        let skopeo = files.skopeo_pulls(&server, trusted);
        for by_variable in [false, true] {
            let (pulled, printed) = files.pull(&server, trusted, by_variable);
            let word = |pulls| if pulls { "pulls" } else { "refuses" };
            let is_expected = match outcome {
                Pulls => pulled && skopeo,
                Refuses(cause, hint) => !pulled && !skopeo && has_cause_and_hint(&printed, cause, hint),
                LacksSupport(cause, hint) => !pulled && has_cause_and_hint(&printed, cause, hint),
            };
            if !is_expected {
                writeln!(
                    wrong,
                    "{name}: program {}, skopeo {}: {printed}",
                    word(pulled),
                    word(skopeo)
                )
                .unwrap();
            }
            if !by_variable {
                writeln!(table, "{name:<40} {:<8} {}", word(pulled), word(skopeo)).unwrap();
            }
        }
    }
    print_uncaptured(&table);
    assert!(wrong.is_empty(), "{wrong}");
}

/// Returns whether an output has a cause and its hint, and no hint to accept every certificate.
fn has_cause_and_hint(printed: &str, cause: &str, hint: &str) -> bool {
    let is_about_trust = hint.contains("--tls-ca");
    printed.contains(cause)
        && printed.contains(hint)
        && printed.contains("--tls-ca") == is_about_trust
        && !printed.contains("--tls-verify")
}

/// A directory of certificates with their keys, and of a registry's answers, below `v2`.
struct Files {
    directory: TempDir,
}

impl Files {
    /// Creates all files.
    fn create() -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        files.write("ca.conf", CA_CONFIG);
        files.write("index", "");
        let server = format!("subjectAltName={LOOPBACK}");
        let authority = "basicConstraints=critical,CA:TRUE";
        for name in ["authority", "namesake"] {
            files.self_sign(name, P256, "Test-Authority", "keyUsage=keyCertSign");
        }
        for name in ["self", "unrelated"] {
            files.self_sign(name, P256, "registry", &server);
        }
        files.self_sign("p521", P521, "P-521", &server);
        files.self_sign("short", "rsa:1024", "short", &server);
        files.issue("between", "authority", "Between", authority, (PAST, FUTURE));
        files.issue_for_key("between", "between-expired", "authority", authority, (PAST, PAST));
        for (name, issuer, extensions, dates) in [
            ("leaf", "authority", &*server, (PAST, FUTURE)),
            ("under", "between", &server, (PAST, FUTURE)),
            ("under-p521", "p521", &server, (PAST, FUTURE)),
            ("expired", "authority", &server, (PAST, PAST)),
            ("future", "authority", &server, (FUTURE, FUTURE)),
            (
                "named",
                "authority",
                "subjectAltName=DNS:registry.example,DNS:*.example,IP:192.0.2.1",
                (PAST, FUTURE),
            ),
            (
                "sub-authority",
                "authority",
                &format!("{server}\n{authority}"),
                (PAST, FUTURE),
            ),
            ("nameless", "authority", "basicConstraints=CA:FALSE", (PAST, FUTURE)),
            (
                "client",
                "authority",
                &format!("{server}\nextendedKeyUsage=clientAuth"),
                (PAST, FUTURE),
            ),
        ] {
            files.issue(name, issuer, "127.0.0.1", extensions, dates);
        }
        files.self_sign("leaf-rsa", "rsa:2048", "rsa", &server);
        for (name, authority) in [("under-expired", "between-expired"), ("under", "between")] {
            files.write(&format!("{name}.key"), &files.read("under.key"));
            files.write(
                &format!("{name}.pem"),
                &[files.read("under.pem"), files.read(&format!("{authority}.pem"))].concat(),
            );
        }
        let several =
            ["unrelated", "self", "p521", "leaf-rsa", "authority"].map(|name| files.read(&format!("{name}.pem")));
        files.write("several.pem", &several.concat());
        files.create_registry();
        files
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.directory.path().join(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(self.directory.path());
        let output = output(&mut command);
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Creates `<name>.pem` with `openssl req -x509`, which by default makes it the certificate of
    /// an authority.
    fn self_sign(&self, name: &str, key: &str, subject: &str, extension: &str) {
        self.openssl(&format!(
            "req -x509 -newkey {key} -nodes -days 9 -subj /CN={subject} -addext {extension} -keyout {name}.key -out \
             {name}.pem"
        ));
    }

    /// Creates a key, and `<name>.pem`, which is signed by `issuer`.
    fn issue(&self, name: &str, issuer: &str, subject: &str, extensions: &str, dates: (&str, &str)) {
        self.openssl(&format!(
            "req -newkey {P256} -nodes -subj /CN={subject} -keyout {name}.key -out {name}.csr"
        ));
        self.issue_for_key(name, name, issuer, extensions, dates);
    }

    /// Creates `<out>.pem` for the existing key of `name`, signed by `issuer`.
    fn issue_for_key(&self, name: &str, out: &str, issuer: &str, extensions: &str, (from, to): (&str, &str)) {
        self.write("extensions", extensions);
        self.openssl(&format!(
            "ca -batch -config ca.conf -notext -in {name}.csr -cert {issuer}.pem -keyfile {issuer}.key -startdate {from} \
             -enddate {to} -extfile extensions -out {out}.pem"
        ));
    }

    /// Writes a registry's answers to a pull of `team/app`.
    fn create_registry(&self) {
        let layout = TestLayout::new();
        let layer = "\0".repeat(1024);
        let image = layout.image("linux/amd64", &[&layer]);
        let root = self.directory.path().join("v2/team/app");
        let serve = |kind: &str, name: &str, blob: &Value| {
            fs::create_dir_all(root.join(kind)).unwrap();
            fs::copy(layout.blob_path(blob), root.join(kind).join(name)).unwrap();
        };
        serve("manifests", "latest", &image);
        serve("manifests", digest(&image), &image);
        let manifest: Value = serde_json::from_slice(&fs::read(layout.blob_path(&image)).unwrap()).unwrap();
        for blob in [&manifest["config"], &manifest["layers"][0]] {
            serve("blobs", digest(blob), blob);
        }
    }

    /// Builds the image. Returns whether that succeeded, and the output of the program. The trusted
    /// certificates are named by `SSL_CERT_FILE` if `by_variable`, or else by `--tls-ca`.
    fn pull(&self, server: &Server, trusted: &str, by_variable: bool) -> (bool, String) {
        let out = tempfile::tempdir().unwrap();
        let mut command = rootfs_build(&server.image(), "amd64", &out.path().join("image.ext4"));
        command.args(["--size-mib", "64", "--plain-http=false"]);
        command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        match (trusted, by_variable) {
            ("", _) => {}
            (file, true) => drop(command.env("SSL_CERT_FILE", self.directory.path().join(file))),
            (file, false) => drop(command.arg("--tls-ca").arg(self.directory.path().join(file))),
        }
        let output = output(&mut command);
        let printed = [&*output.stdout, &*output.stderr].concat();
        (output.status.success(), String::from_utf8(printed).unwrap())
    }

    /// Returns whether skopeo pulls the image.
    fn skopeo_pulls(&self, server: &Server, trusted: &str) -> bool {
        let out = tempfile::tempdir().unwrap();
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", &format!("docker://{}", server.image())]);
        command.arg(format!("dir:{}", out.path().display()));
        let trusted = match trusted {
            "" => PathBuf::from("/dev/null"),
            file => self.directory.path().join(file),
        };
        command
            .env("SSL_CERT_FILE", trusted)
            .env("SSL_CERT_DIR", "/nonexistent");
        output(&mut command).status.success()
    }
}

/// A running `tests/rig/tls_server.py`, which is killed when this is dropped.
struct Server {
    process: Child,
    port: String,
}

impl Server {
    fn start(files: &Files, options: &str) -> Self {
        let mut process = Command::new("python3")
            .args(["-W", "ignore"])
            .arg(repository().join("tests/rig/tls_server.py"))
            .args([".", options].join(" ").split(' '))
            .current_dir(files.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut printed = BufReader::new(process.stdout.take().unwrap());
        assert!(printed.read_line(&mut port).unwrap() > 0, "tls_server.py {options}");
        let port = port.trim().to_owned();
        Self { process, port }
    }

    fn image(&self) -> String {
        format!("127.0.0.1:{}/team/app:latest", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
