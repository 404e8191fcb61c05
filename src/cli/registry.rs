//! `microagent registry`: login, logout and list of credentials; and the flags for connections to
//! registries.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Subcommand};
use layer::cancel::Cancel;
use layer::text::harmless;
use oci::{AuthFile, AuthFiles, ImageError, LoginCheck, LoginTarget, RegistryOptions, Secret, check_login};
use serde::Serialize;

use super::failure::CommandError;
use super::presentation::Format;
use super::progress;
use super::report::write_stdout;
use super::signals::Signals;
use super::state::home;

/// Limit on a password in bytes: more than any token, and than any header that servers accept.
const MAX_PASSWORD_LEN: u64 = 64 << 10;

/// Flags for connections to registries.
#[derive(Debug, Args)]
pub(super) struct RegistryArguments {
    /// PEM file with certificates to trust, in addition to those of the system
    ///
    /// Certificates of authorities, or of registries themselves.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// With =false, accept any certificate; anyone on the network path can read and change all data
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    tls_verify: bool,

    /// Use plain HTTP for the registry [default: only for a registry on this machine]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    plain_http: Option<bool>,
}

impl RegistryArguments {
    /// Returns the options that the arguments and the environment select.
    pub(super) fn options(&self) -> RegistryOptions {
        let mut options = RegistryOptions::default();
        options.auth_files = auth_files();
        options.tls_ca.clone_from(&self.tls_ca);
        options.accept_any_certificate = !self.tls_verify;
        options.plain_http = self.plain_http;
        options
    }
}

/// Returns the credentials files of this user.
fn auth_files() -> AuthFiles {
    AuthFiles::for_user(home().as_deref())
}

/// Commands of `registry`.
#[derive(Debug, Subcommand)]
pub(super) enum RegistryCommand {
    /// Log in to a registry, and save the credentials
    #[command(after_help = LOGIN_HELP)]
    Login(LoginArguments),

    /// Log out of a registry: remove its credentials
    Logout {
        /// Registry, with the namespace of the login, if any
        #[arg(value_name = "REGISTRY")]
        registry: String,
    },

    /// List saved credentials
    #[command(visible_alias = "list")]
    Ls,
}

const LOGIN_HELP: &str = "\
The password is read from the terminal, or from standard input with --password-stdin. The credentials are saved once \
the registry accepts them. A registry with public images may not ask for a password; the credentials are then saved \
without a check, and the output says so.

The file is the one that REGISTRY_AUTH_FILE names, or else .microagent/auth.json in the home directory, which only you \
can read. Passwords are stored unencrypted, in base64, in the format of podman and skopeo (containers-auth.json(5)).

Examples:
  microagent registry login ghcr.io -u me
  microagent registry login docker.io -u me --password-stdin < token";

/// Arguments of `registry login`.
#[derive(Debug, Args)]
pub(super) struct LoginArguments {
    /// Registry, such as ghcr.io, docker.io for Docker Hub, or a URL
    ///
    /// With a namespace, such as r.example/team, the credentials are for that namespace only.
    #[arg(value_name = "REGISTRY")]
    registry: String,

    /// Name of the user
    #[arg(short, long, visible_alias = "username", value_name = "USER")]
    user: String,

    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,

    #[command(flatten)]
    options: RegistryArguments,
}

/// JSON form of a login or logout.
#[derive(Serialize)]
struct JsonLogin {
    registry: String,
    user: Option<String>,
    auth_file: String,
    /// After a login, whether the registry checked the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    checked: Option<bool>,
}

impl RegistryCommand {
    /// Runs the command, and prints the result on standard output.
    pub(super) fn run(&self, format: Format) -> Result<(), CommandError> {
        match self {
            Self::Login(login) => login.run(format),
            Self::Logout { registry } => logout(registry, format),
            Self::Ls => list(format),
        }
    }
}

impl LoginArguments {
    fn run(&self, format: Format) -> Result<(), CommandError> {
        let target = parse_target(&self.registry)?;
        if self.user.is_empty() || self.user.contains([':', '\n', '\r']) {
            return Err(usage_error("the user must not be empty, and must not contain a colon"));
        }
        let options = self.options.options();
        if target.is_plain_http() && options.plain_http != Some(true) {
            let plain = "to use plain HTTP, with which anyone on the network path can read the password, pass \
                         --plain-http here and to rootfs build";
            return Err(usage_error(&format!("{}: {plain}", self.registry)));
        }
        let file = file_to_change()?;
        let password = self.password()?;
        let signals = Signals::listen().map_err(CommandError::SignalSetup)?;
        let failed = |error| CommandError::Login {
            error: Box::new(error),
            registry: target.as_str().to_owned(),
        };
        let check = check_login(
            &target,
            &self.user,
            &password,
            &options,
            &progress::wait_listener(),
            signals.cancel(),
        );
        let check = check.map_err(|error| match signals.exit_status() {
            Some(status) => CommandError::Interrupted { status },
            None => failed(error),
        })?;
        let file = file.with_lock_wait(signals.cancel(), report_lock_wait);
        let added = file.add(&target, &self.user, &password);
        added.map_err(|error| match signals.exit_status() {
            Some(status) => CommandError::Interrupted { status },
            None => failed(error.into()),
        })?;
        let (registry, user, auth_file) = (target.as_str(), &self.user, file.path().display());
        let text = match check {
            LoginCheck::Accepted => format!("logged in to {registry} as {user}; saved in {auth_file}"),
            _ => format!(
                "saved for {registry} as {user} in {auth_file}, but not checked: the registry did not ask for a password"
            ),
        };
        let login = JsonLogin {
            registry: registry.to_owned(),
            user: Some(user.clone()),
            auth_file: auth_file.to_string(),
            checked: Some(check == LoginCheck::Accepted),
        };
        print(&login, &text, format)
    }

    fn password(&self) -> Result<Secret, CommandError> {
        let password = if self.password_stdin {
            let mut password = String::new();
            io::stdin()
                .take(MAX_PASSWORD_LEN + 1)
                .read_to_string(&mut password)
                .map_err(CommandError::Password)?;
            password
        } else {
            rpassword::prompt_password(format!("Password for {} at {}: ", self.user, self.registry))
                .map_err(CommandError::Password)?
        };
        let line = password.strip_suffix('\n').unwrap_or(&password);
        match line.strip_suffix('\r').unwrap_or(line) {
            "" => Err(usage_error("the password is empty")),
            password if password.len() as u64 > MAX_PASSWORD_LEN => Err(usage_error(&format!(
                "the password is longer than {} KiB",
                MAX_PASSWORD_LEN >> 10
            ))),
            password => Ok(Secret::new(password.to_owned())),
        }
    }
}

fn logout(registry: &str, format: Format) -> Result<(), CommandError> {
    let target = parse_target(registry)?;
    let file = file_to_change()?.with_lock_wait(&Cancel::new(), report_lock_wait);
    let auth_file = file.path().display().to_string();
    if !file.remove(&target).map_err(registry_error)? {
        return Err(CommandError::NotLoggedIn {
            registry: target.as_str().to_owned(),
            file: file.path().to_owned(),
        });
    }
    let text = format!("logged out of {}; removed from {auth_file}", target.as_str());
    let login = JsonLogin {
        registry: target.as_str().to_owned(),
        user: None,
        auth_file,
        checked: None,
    };
    print(&login, &text, format)
}

fn list(format: Format) -> Result<(), CommandError> {
    let mut logins = Vec::new();
    for file in auth_files().files() {
        logins.extend(file.logins().map_err(registry_error)?);
    }
    let mut text = String::new();
    if logins.is_empty() {
        text.push_str("no logins");
    }
    for login in &logins {
        let user = login.user.as_deref().unwrap_or("-");
        let (registry, user, file) = (harmless(&login.registry), harmless(user), login.auth_file.display());
        writeln!(text, "{registry}  {user}  {file}").expect("writing to a string does not fail");
    }
    print(&serde_json::json!({"logins": logins}), text.trim_end(), format)
}

fn print(json: &impl Serialize, text: &str, format: Format) -> Result<(), CommandError> {
    let text = match format {
        Format::Json => serde_json::to_string(json).map_err(|error| CommandError::Report(error.into()))?,
        Format::Text => text.to_owned(),
    };
    write_stdout((text + "\n").as_bytes()).map_err(CommandError::Report)
}

fn parse_target(registry: &str) -> Result<LoginTarget, CommandError> {
    LoginTarget::parse(registry).map_err(|error| {
        let advice = if registry.contains('@') {
            ": pass the user with --user; the password is asked for"
        } else {
            ""
        };
        usage_error(&format!("{error}{advice}"))
    })
}

fn file_to_change() -> Result<AuthFile, CommandError> {
    auth_files()
        .login_file()
        .ok_or_else(|| usage_error("no home directory: set REGISTRY_AUTH_FILE to a file for credentials"))
}

/// Prints a note about a wait for the lock of a credentials file, which another process holds.
fn report_lock_wait(lock: &Path) {
    // A closed standard error leaves no way to report this.
    let _ = writeln!(
        io::stderr(),
        "note: waiting for another process, which holds {}",
        lock.display()
    );
}

fn usage_error(message: &str) -> CommandError {
    CommandError::Usage(clap::Error::raw(ErrorKind::ValueValidation, format!("{message}\n")))
}

fn registry_error(error: impl Into<ImageError>) -> CommandError {
    CommandError::Registry(error.into())
}
