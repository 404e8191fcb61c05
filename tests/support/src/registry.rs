//! A real registry on loopback: Debian's `docker-registry`, filled by `skopeo`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::skip::skip;
use super::wait::eventually;

/// User and password of a registry with authentication.
pub const USER: &str = "someone";
pub const PASSWORD: &str = "pass:word-f00d";

/// Output of `htpasswd -nbB` for [`USER`] and [`PASSWORD`].
const HTPASSWD: &str = "someone:$2y$05$abcdefghijklmnopqrstuu2Ipj.fSIeF5z.d/fN/Yx9WLI1BQTVEe\n";

/// A running registry. Dropping this stops it.
pub struct Registry {
    process: Child,
    pub host: String,
    pub directory: TempDir,
}

impl Registry {
    /// Starts a registry, without authentication or for [`USER`] alone. Returns `None`, and reports
    /// the test as skipped, if a tool is missing and `REQUIRE_ORACLES` is not 1.
    pub fn start(wants_password: bool) -> Option<Self> {
        Self::start_with(wants_password, false)
    }

    /// Starts a registry that serves TLS, with a certificate issued by [`Registry::authority`].
    pub fn start_with_tls() -> Option<Self> {
        Self::start_with(false, true)
    }

    fn start_with(wants_password: bool, speaks_tls: bool) -> Option<Self> {
        if !has_tools() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let root = directory.path().display();
        let tls = if speaks_tls {
            make_certificates(directory.path());
            format!(", tls: {{certificate: {root}/server.pem, key: {root}/server.key}}")
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp: {{addr: '{host}'{tls}}}\n"
        );
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n");
        fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
        let config_path = directory.path().join("config.yml");
        fs::write(&config_path, if wants_password { config + &auth } else { config }).unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(config_path)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let registry = Self {
            process,
            host,
            directory,
        };
        assert!(
            eventually(|| TcpStream::connect(&registry.host).is_ok()),
            "docker-registry does not answer: {}",
            fs::read_to_string(registry.directory.path().join("log")).unwrap()
        );
        Some(registry)
    }

    /// Path of the certificate of the authority that issued the registry's.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    /// Reference to an image in this registry.
    pub fn reference(&self, image: &str) -> String {
        format!("{}/{image}", self.host)
    }

    /// Copies an image into this registry with `skopeo copy` and more options.
    pub fn push(&self, from: &str, image: &str, options: &[&str]) {
        let to = format!("docker://{}", self.reference(image));
        skopeo(&[&["copy", "-q", "--dest-tls-verify=false", from, &to], options].concat());
    }

    /// Runs `skopeo login`, and returns the path of the credentials file that it wrote.
    pub fn login(&self) -> PathBuf {
        let file = self.directory.path().join("auth.json");
        let path = file.to_str().unwrap();
        skopeo(&[
            "login",
            "--tls-verify=false",
            "--authfile",
            path,
            "-u",
            USER,
            "-p",
            PASSWORD,
            &self.host,
        ]);
        file
    }
}

/// Writes the key and certificate of an authority, and of a server on loopback that it issued, into
/// a directory: `authority.pem`, `server.pem` and so on.
pub fn make_certificates(directory: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -days 9 -subj /CN=test -keyout authority.key -out authority.pem"
    ));
    openssl(&format!(
        "req {key} -subj /CN=127.0.0.1 -keyout server.key -out server.csr"
    ));
    fs::write(
        directory.join("extensions"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\n",
    )
    .unwrap();
    openssl(
        "x509 -req -days 9 -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -extfile extensions \
         -out server.pem",
    );
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Returns whether the tools are installed. If not, reports the test as skipped, or panics where
/// `REQUIRE_ORACLES` is 1.
pub fn has_tools() -> bool {
    for tool in ["docker-registry", "skopeo", "openssl"] {
        if Command::new(tool).arg("version").output().is_err() {
            skip(&format!("{tool} is not installed"));
            return false;
        }
    }
    true
}

/// Runs skopeo, which must succeed.
pub fn skopeo(arguments: &[&str]) -> Output {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "skopeo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
