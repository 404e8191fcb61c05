//! The command that the init starts: its arguments, environment, working directory and stop signal.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ext4::MAX_NAME_LEN;

use super::error::GuestError;
use super::{Init, signal};
use oci::ExecutionConfig;

const SHELL: &str = "/bin/sh";
/// Default of Docker, containerd and podman if the config has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_STOP_SIGNAL: &str = "SIGTERM";

/// Longest argument or variable in bytes, without its NUL (`MAX_ARG_STRLEN`, 32 pages of 4 KiB).
const MAX_ARGUMENT_LEN: usize = 32 * 4096 - 1;
/// Largest size in bytes of arguments, variables and their addresses: a quarter of the 8 MiB of
/// stack that the init has (execve(2), "Limits on size of arguments and environment").
const MAX_TOTAL_LEN: usize = 2 << 20;
/// Bytes of an address, which count since Linux 4.13.
const ADDRESS_LEN: usize = 8;
/// Bytes that the first line of a script may add (`BINPRM_BUF_SIZE`), besides its path.
const MAX_SCRIPT_LINE_LEN: usize = 256;
/// Longest path of a system call in bytes, without its NUL (`PATH_MAX`).
const MAX_PATH_LEN: usize = 4095;

/// A command with its environment. Its strings do not hold a NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GuestCommand {
    /// The command and its arguments. Not empty.
    pub(super) arguments: Vec<Vec<u8>>,
    /// Variables in the form `NAME=value`. Each name occurs once.
    pub(super) environment: Vec<Vec<u8>>,
    /// Absolute path.
    pub(super) working_directory: Vec<u8>,
    pub(super) stop_signal: u32,
}

impl GuestCommand {
    /// Returns the command of an image, or `init.exec` for the image's shell. `home` is the default
    /// of `HOME`.
    pub(super) fn new(init: &Init, execution: &ExecutionConfig, home: &[u8]) -> Result<Self, GuestError> {
        let arguments = init.exec.as_ref().map_or_else(
            || {
                execution
                    .entrypoint
                    .iter()
                    .chain(&execution.cmd)
                    .map(|argument| argument.clone().into_bytes())
                    .collect()
            },
            |command| vec![SHELL.into(), "-c".into(), command.clone()],
        );
        let name = Some(execution.stop_signal.as_str()).filter(|name| !name.is_empty());
        let name = name.unwrap_or(DEFAULT_STOP_SIGNAL);
        let stop_signal = signal::parse_signal(name).ok_or_else(|| GuestError::StopSignal { name: name.to_owned() })?;
        // A relative path begins at the root, as in Docker.
        let working_directory = [b"/", execution.working_dir.trim_start_matches('/').as_bytes()].concat();
        let command = Self {
            arguments,
            environment: build_environment(&execution.env, home)?,
            working_directory,
            stop_signal,
        };
        command.check_nul()?;
        command.check_lens()?;
        Ok(command)
    }

    /// Returns the paths at which the init looks for the command, in this order: the command itself
    /// if it is a path, else its name in each directory of `PATH`. An empty directory in `PATH` is
    /// the current one (execvp(3)).
    fn candidate_paths(&self) -> impl Iterator<Item = Vec<u8>> {
        let command = &self.arguments[0];
        let own = command.contains(&b'/').then(|| command.clone());
        let path = self
            .environment
            .iter()
            .find_map(|variable| variable.strip_prefix(b"PATH="));
        let directories = path
            .filter(|_| own.is_none())
            .map(|path| path.split(|&byte| byte == b':'));
        let joined = directories.into_iter().flatten().map(move |directory| {
            let directory = if directory.is_empty() { b"." } else { directory };
            [directory, b"/", command].concat()
        });
        own.into_iter().chain(joined)
    }

    /// Checks the lengths that `execve` and `chdir` in the guest will check.
    fn check_lens(&self) -> Result<(), GuestError> {
        check_path("the working directory", self.working_directory.len())?;
        let command = &self.arguments[0];
        if command.contains(&b'/') {
            check_path("the command", command.len())?;
        } else if command.len() > MAX_NAME_LEN {
            return Err(GuestError::PathTooLong {
                what: "the command",
                len: command.len(),
                max: MAX_NAME_LEN,
            });
        }
        for (number, argument) in self.arguments.iter().enumerate() {
            if argument.len() > MAX_ARGUMENT_LEN {
                return Err(GuestError::ArgumentTooLong {
                    number,
                    len: argument.len(),
                    max: MAX_ARGUMENT_LEN,
                });
            }
        }
        for variable in &self.environment {
            if variable.len() > MAX_ARGUMENT_LEN {
                let name = variable.split(|&byte| byte == b'=').next().unwrap_or_default();
                return Err(GuestError::VariableTooLong {
                    name: String::from_utf8_lossy(name).into_owned(),
                    len: variable.len(),
                    max: MAX_ARGUMENT_LEN,
                });
            }
        }
        let strings = self.arguments.iter().chain(&self.environment);
        let strings = strings.map(|string| string.len() + 1 + ADDRESS_LEN).sum::<usize>();
        // The path counts too, and twice for a script: its interpreter gets it as an argument.
        let longest_path = self.candidate_paths().map(|path| path.len()).max().unwrap_or_default();
        check_path("the command in a directory of PATH", longest_path)?;
        let len = strings + 2 * (longest_path + 1) + MAX_SCRIPT_LINE_LEN;
        if len > MAX_TOTAL_LEN {
            return Err(GuestError::CommandTooLarge {
                len,
                max: MAX_TOTAL_LEN,
            });
        }
        Ok(())
    }

    /// Checks that no string holds a NUL.
    fn check_nul(&self) -> Result<(), GuestError> {
        let has_nul = |string: &Vec<u8>| string.contains(&0);
        let what = if self.arguments.iter().any(has_nul) {
            "the command"
        } else if self.environment.iter().any(has_nul) {
            "Env"
        } else if has_nul(&self.working_directory) {
            "WorkingDir"
        } else {
            return Ok(());
        };
        Err(GuestError::Nul { what })
    }
}

/// Checks that a path is no longer than a system call allows.
fn check_path(what: &'static str, len: usize) -> Result<(), GuestError> {
    if len > MAX_PATH_LEN {
        return Err(GuestError::PathTooLong {
            what,
            len,
            max: MAX_PATH_LEN,
        });
    }
    Ok(())
}

/// Returns the variables of the config, the last of each name, with defaults for `PATH` and `HOME`.
/// An empty `HOME` counts as unset, as in runc.
fn build_environment(entries: &[String], home: &[u8]) -> Result<Vec<Vec<u8>>, GuestError> {
    let mut variables = Environment::default();
    variables.set(b"PATH", DEFAULT_PATH.as_bytes());
    for entry in entries {
        let (name, value) = entry
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| GuestError::Variable { entry: entry.clone() })?;
        variables.set(name.as_bytes(), value.as_bytes());
    }
    if variables.get(b"HOME").is_none_or(<[u8]>::is_empty) {
        variables.set(b"HOME", home);
    }
    let variables = variables.in_order.into_iter();
    Ok(variables.map(|(name, value)| [name, b"=", value].concat()).collect())
}

/// Variables, in the order in which they were set first. Setting one takes constant time: a config
/// may have a million.
#[derive(Default)]
struct Environment<'a> {
    in_order: Vec<(&'a [u8], &'a [u8])>,
    positions: HashMap<&'a [u8], usize>,
}

impl<'a> Environment<'a> {
    fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.positions.get(name).map(|&position| self.in_order[position].1)
    }

    fn set(&mut self, name: &'a [u8], value: &'a [u8]) {
        match self.positions.entry(name) {
            Entry::Occupied(position) => self.in_order[*position.get()].1 = value,
            Entry::Vacant(position) => {
                position.insert(self.in_order.len());
                self.in_order.push((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use oci::Config;

    fn command(config: serde_json::Value, exec: Option<&[u8]>) -> Result<GuestCommand, GuestError> {
        let mut image = json!({"rootfs": {"type": "layers"}});
        image["config"] = config;
        let execution = Config::parse(image.to_string().as_bytes()).unwrap().execution;
        let init = Init {
            path: "/init".parse().unwrap(),
            exec: exec.map(<[u8]>::to_vec),
        };
        GuestCommand::new(&init, &execution, b"/home/ana")
    }

    #[test]
    fn the_command_is_the_entrypoint_and_its_default_arguments() {
        let config = json!({"Entrypoint": ["/bin/e", "a b"], "Cmd": ["\n$\"'"]});
        let run = command(config.clone(), None).unwrap();
        assert_eq!(run.arguments, [&b"/bin/e"[..], b"a b", b"\n$\"'"]);
        assert_eq!(run.working_directory, b"/");
        assert_eq!(run.stop_signal, 15);
        let run = command(config, Some(b"echo \xff")).unwrap();
        assert_eq!(run.arguments, [&b"/bin/sh"[..], b"-c", b"echo \xff"]);
    }

    #[test]
    fn the_environment_is_that_of_a_container() {
        let environment = |env: serde_json::Value| {
            let run = command(json!({"Cmd": ["x"], "Env": env}), None).unwrap();
            String::from_utf8(run.environment.join(&b'|')).unwrap()
        };
        let path = format!("PATH={DEFAULT_PATH}");
        assert_eq!(environment(json!(null)), format!("{path}|HOME=/home/ana"));
        assert_eq!(
            environment(json!(["PATH=/bin", "A=1", "B=a=b", "A=2", "E="])),
            "PATH=/bin|A=2|B=a=b|E=|HOME=/home/ana"
        );
        assert_eq!(environment(json!(["HOME=/srv"])), format!("{path}|HOME=/srv"));
        assert_eq!(
            environment(json!(["HOME=", "A=1"])),
            format!("{path}|HOME=/home/ana|A=1")
        );
    }

    #[test]
    fn a_config_that_no_engine_runs_is_an_error() {
        for entry in ["A", "=a", ""] {
            let error = command(json!({"Cmd": ["x"], "Env": [entry]}), None).unwrap_err();
            assert!(matches!(error, GuestError::Variable { .. }), "{entry:?}");
        }
        for config in [
            json!({"Cmd": ["x\0"]}),
            json!({"Cmd": ["x"], "Env": ["A=\0"]}),
            json!({"Cmd": ["x"], "WorkingDir": "/\0"}),
        ] {
            assert!(matches!(command(config, None), Err(GuestError::Nul { .. })));
        }
        let error = command(json!({"Cmd": ["x"], "StopSignal": "SIGSTOPIT"}), None).unwrap_err();
        assert!(matches!(error, GuestError::StopSignal { name } if name == "SIGSTOPIT"));
    }

    #[test]
    fn a_million_variables_take_linear_time() {
        // A linear search for each would take minutes.
        let env: Vec<_> = (0..1_000_000).map(|index| format!("{index}=")).collect();
        let variables = build_environment(&env, b"/").unwrap();
        assert_eq!(variables.len(), 1_000_002);
        assert_eq!(
            (&variables[1][..], &variables[1_000_000][..]),
            (&b"0="[..], &b"999999="[..])
        );
    }

    #[test]
    fn arguments_that_execve_refuses_are_errors() {
        let text = |len: usize| "x".repeat(len);
        let refused = |config: serde_json::Value| command(config, None).map(drop).map_err(|error| error.to_string());

        assert_eq!(refused(json!({"Cmd": ["c", text(131_071)]})), Ok(()));
        let error = refused(json!({"Cmd": ["c", "a", text(131_072)]})).unwrap_err();
        assert!(
            error.contains("argument 2") && error.contains("131072 bytes"),
            "{error}"
        );
        assert_eq!(
            refused(json!({"Cmd": ["c"], "Env": [format!("A={}", text(131_069))]})),
            Ok(())
        );
        let error = refused(json!({"Cmd": ["c"], "Env": [format!("A={}", text(131_070))]})).unwrap_err();
        assert!(
            error.contains("variable \"A\"") && error.contains("131072 bytes"),
            "{error}"
        );
        let error = refused(json!({"Cmd": ["c"], "Env": [text(4 << 20)]})).unwrap_err();
        assert!(error.len() < 200, "{error}");

        // Strings of 64 KiB with their NULs and addresses. The rest of 2 MiB is for the program's
        // own and for a script.
        let many = |rest: usize| [vec!["/c".to_owned()], vec![text(65_527); 31], vec![text(rest)]].concat();
        let own =
            "/c".len() + 9 + 2 * 3 + 256 + 9 + "HOME=/home/ana".len() + 9 + "PATH=".len() + DEFAULT_PATH.len() + 9;
        let left = (2 << 20) - 31 * 65_536 - own;
        assert_eq!(refused(json!({"Entrypoint": many(left)})), Ok(()));
        let error = refused(json!({"Entrypoint": many(left + 1)})).unwrap_err();
        assert!(error.contains("2097153 bytes") && error.contains("2097152"), "{error}");
        // Addresses alone exceed the limit.
        let error = refused(json!({"Entrypoint": ["/c"], "Cmd": vec![""; 240_000]})).unwrap_err();
        assert!(error.contains("at most 2097152"), "{error}");
    }

    #[test]
    fn paths_that_no_system_call_takes_are_errors() {
        let refused = |config: serde_json::Value| command(config, None).map(drop).map_err(|error| error.to_string());
        let path = |len: usize| format!("/{}", "d/".repeat(len))[..len].to_owned();
        assert_eq!(refused(json!({"Cmd": ["c"], "WorkingDir": path(4095)})), Ok(()));
        let error = refused(json!({"Cmd": ["c"], "WorkingDir": path(4096)})).unwrap_err();
        assert!(error.contains("working directory") && error.contains("4096"), "{error}");
        assert_eq!(refused(json!({"Cmd": [path(4095)]})), Ok(()));
        let error = refused(json!({"Cmd": [path(4096)]})).unwrap_err();
        assert!(error.contains("the command") && error.contains("4096"), "{error}");
        assert_eq!(
            refused(json!({"Cmd": ["c"], "Env": [format!("PATH=/bin:{}", path(4093))]})),
            Ok(())
        );
        let error = refused(json!({"Cmd": ["c"], "Env": [format!("PATH=/bin:{}", path(4094))]})).unwrap_err();
        assert!(error.contains("of PATH") && error.contains("4096"), "{error}");
        assert_eq!(refused(json!({"Cmd": ["c".repeat(255)]})), Ok(()));
        let error = refused(json!({"Cmd": ["c".repeat(256)]})).unwrap_err();
        assert!(
            error.contains("the command") && error.contains("at most 255"),
            "{error}"
        );
    }

    #[test]
    fn a_command_name_is_searched_in_path() {
        let candidates = |config| command(config, None).unwrap().candidate_paths().collect::<Vec<_>>();
        assert_eq!(
            candidates(json!({"Cmd": ["c"], "Env": ["PATH=/bin::/usr/bin"]})),
            [&b"/bin/c"[..], b"./c", b"/usr/bin/c"]
        );
        assert_eq!(candidates(json!({"Cmd": ["./c"]})), [b"./c"]);
    }
}
