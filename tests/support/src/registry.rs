//! A real registry on loopback: Debian's `docker-registry`, filled by `skopeo`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::skip::skip;
use super::wait::is_soon;

/// The user and the password of a registry that wants some.
pub const USER: &str = "someone";
pub const PASSWORD: &str = "pass:word-f00d";

/// What `htpasswd -nbB` makes of the two.
const HTPASSWD: &str = "someone:$2y$05$abcdefghijklmnopqrstuu2Ipj.fSIeF5z.d/fN/Yx9WLI1BQTVEe\n";

/// A running registry; ends with this.
pub struct Registry {
    process: Child,
    pub host: String,
    pub directory: TempDir,
}

impl Registry {
    /// Starts a registry, open to all or only to [`USER`]. None, with a word about it, where the tools are missing and
    /// `REQUIRE_ORACLES` is not 1.
    pub fn start(wants_password: bool) -> Option<Self> {
        Self::start_with(wants_password, false)
    }

    /// Starts a registry that speaks TLS, with a certificate of the authority in [`Registry::authority`].
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
            is_soon(|| TcpStream::connect(&registry.host).is_ok()),
            "docker-registry does not answer: {}",
            fs::read_to_string(registry.directory.path().join("log")).unwrap()
        );
        Some(registry)
    }

    /// The certificate of the authority that the registry's is of.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    /// A reference to an image here.
    pub fn reference(&self, image: &str) -> String {
        format!("{}/{image}", self.host)
    }

    /// Copies an image to here with `skopeo copy`, with more options.
    pub fn push(&self, from: &str, image: &str, options: &[&str]) {
        let to = format!("docker://{}", self.reference(image));
        skopeo(&[&["copy", "-q", "--dest-tls-verify=false", from, &to], options].concat());
    }

    /// Lets `skopeo login` write a credentials file.
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

/// Makes an authority, and a certificate of it for this machine.
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

/// Whether the tools are there. If not, says so, and fails if `REQUIRE_ORACLES` is 1.
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
