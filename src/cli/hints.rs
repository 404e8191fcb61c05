//! Hints on errors, with the names of flags and commands.
//!
//! The libraries name no flag: their hints contain a `Setting` of `layer::failure`, and
//! [`setting_name`] turns it into a flag, variable or command here. A new setting is a variant
//! there, a name in [`setting_name`], and an entry in the tests below, which check that each name
//! exists. Without a name, the hint omits the setting.

use std::borrow::Cow;

use layer::failure::{Failure, Hint, Setting};
use oci::{ImageError, RegistryError};

/// Returns the text of a hint, with the names of flags and commands.
pub(super) fn text(hint: &Hint) -> String {
    hint.naming(setting_name)
}

/// Returns the hint on a failed login. Repeats the flags that the login needs. Returns `None` if
/// the error has no hint.
pub(super) fn login_hint(error: &ImageError, registry: &str) -> Option<String> {
    let advice = match error {
        ImageError::Registry(RegistryError::Unauthorized { .. }) => {
            "check the user and the password, and whether the user may log in".to_owned()
        }
        ImageError::Registry(
            RegistryError::NotFound { .. }
            | RegistryError::UnexpectedStatus { .. }
            | RegistryError::Broken { .. }
            | RegistryError::Redirect { .. },
        ) => "check the host and port: this may not be a registry".to_owned(),
        error => text(&error.hint()?),
    };
    let flags = ["--tls-ca <file>", "--plain-http=false", "--plain-http"];
    let flag = flags.into_iter().find(|flag| advice.contains(flag));
    let flag = flag.map(|flag| format!("{flag} ")).unwrap_or_default();
    Some(format!(
        "{advice}; then log in again: microagent registry login {flag}{registry} -u <user>"
    ))
}

/// Returns the flag, variable or command for a setting, or `None` if it has no name here.
fn setting_name(setting: &Setting) -> Option<Cow<'static, str>> {
    let name = match setting {
        Setting::Image => "--image",
        Setting::AllowMutable => "--allow-mutable",
        Setting::Platform => "--platform",
        Setting::Output => "--out",
        Setting::Size => "--size-mib",
        Setting::BlockSize => "--block-size",
        Setting::MaxSize => "--max-size-mib",
        Setting::MaxEntries => "--max-entries",
        Setting::MaxMetadata => "--max-metadata-mib",
        Setting::StateDirectory => "--state-dir",
        Setting::CredentialsFile => "REGISTRY_AUTH_FILE",
        Setting::Login { registry } => return Some(format!("microagent registry login {registry} -u <user>").into()),
        Setting::PlainHttp => "--plain-http",
        Setting::Authority => "--tls-ca <file>",
        Setting::Init => "--init",
        Setting::NoInit => "--init none",
        Setting::Command => "--exec",
        Setting::Mke2fs => "--mke2fs",
        Setting::Stage => "--stage-snapshot",
        Setting::Inspect => "rootfs inspect",
        Setting::List => "ls",
        Setting::Print => "cat",
        Setting::Verify => "microagent rootfs verify",
        _ => return None,
    };
    Some(name.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use clap::{Command, CommandFactory};

    use super::*;
    use crate::cli::arguments::Arguments;

    /// Returns the flags of a command and all below it, such as `--out`.
    fn flags(command: &Command) -> Vec<String> {
        let own = command.get_arguments().filter_map(|argument| argument.get_long());
        let own = own.map(|name| format!("--{name}"));
        own.chain(command.get_subcommands().flat_map(flags)).collect()
    }

    #[test]
    fn setting_names_are_existing_flags_and_commands() {
        let flags = flags(&Arguments::command());
        for setting in [
            Setting::Image,
            Setting::AllowMutable,
            Setting::Platform,
            Setting::Output,
            Setting::Size,
            Setting::BlockSize,
            Setting::MaxSize,
            Setting::MaxEntries,
            Setting::MaxMetadata,
            Setting::StateDirectory,
            Setting::PlainHttp,
            Setting::Authority,
            Setting::Init,
            Setting::NoInit,
            Setting::Command,
            Setting::Mke2fs,
            Setting::Stage,
        ] {
            let name = setting_name(&setting).unwrap();
            let flag = name.split(' ').next().unwrap();
            assert!(flags.iter().any(|known| known == flag), "{setting:?}: {name}");
        }
        for setting in [Setting::Inspect, Setting::List, Setting::Print, Setting::Verify] {
            let name = setting_name(&setting).unwrap();
            let command = name.rsplit(' ').next().unwrap();
            let rootfs = Arguments::command();
            let rootfs = rootfs.find_subcommand("rootfs").unwrap();
            let inspect = rootfs.find_subcommand("inspect").unwrap();
            let known = [rootfs, inspect].map(|parent| parent.find_subcommand(command));
            assert!(known.iter().any(Option::is_some), "{setting:?}: {name}");
        }
    }

    /// Other programs that use the libraries have different flags.
    #[test]
    fn the_library_names_no_flag_or_command() {
        let command = Arguments::command();
        let mut words = flags(&command);
        for parent in command.get_subcommands() {
            let names = parent.get_subcommands().map(Command::get_name);
            words.extend(names.map(|name| format!("{} {name}", parent.get_name())));
        }
        let mut lines = 0;
        for path in library_files() {
            let source = fs::read_to_string(&path).unwrap();
            for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let named = words.iter().find(|word| contains_word(line, word));
                assert_eq!(named, None, "{}: {line}", path.display());
                lines += 1;
            }
        }
        assert!(lines > 10_000, "{lines}");
    }

    fn library_files() -> Vec<PathBuf> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
        let crates = ["src", "ext4/src", "layer/src", "oci/src"];
        let mut directories = crates.map(|path| workspace.join(path)).to_vec();
        let mut files = Vec::new();
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "rs") {
                    files.push(path);
                } else if path.is_dir() && !path.ends_with("src/cli") {
                    directories.push(path);
                }
            }
        }
        files
    }

    fn contains_word(line: &str, word: &str) -> bool {
        let mut ends = line.match_indices(word).map(|(at, _)| &line[at + word.len()..]);
        ends.any(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '-'))
    }

    #[test]
    fn a_login_hint_repeats_the_flags_that_it_names() {
        let registry = || "r.example".to_owned();
        for (error, expected) in [
            (
                RegistryError::SpeaksPlainHttp { registry: registry() },
                "can then read and change what is sent; then log in again: microagent registry login --plain-http r.example -u <user>",
            ),
            (
                RegistryError::UnexpectedStatus {
                    registry: registry(),
                    status: 418,
                    problem: String::new(),
                },
                "this may not be a registry; then log in again: microagent registry login r.example -u <user>",
            ),
        ] {
            let hint = login_hint(&error.into(), "r.example").unwrap();
            assert!(hint.ends_with(expected), "{hint}");
        }
    }
}
