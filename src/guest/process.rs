//! The process that the init starts: what the config says, and what container engines add.

use super::error::GuestError;
use super::{Init, signal};
use crate::image::Execution;

const SHELL: &str = "/bin/sh";
/// What Docker, containerd and podman set without a `PATH` in the config.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_STOP_SIGNAL: &str = "SIGTERM";

/// What runs, in which environment; no string holds a NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// The command and its arguments; at least one.
    pub(super) arguments: Vec<Vec<u8>>,
    /// Variables, `NAME=value`, each name once.
    pub(super) environment: Vec<Vec<u8>>,
    /// An absolute path.
    pub(super) working_directory: Vec<u8>,
    pub(super) stop_signal: u32,
}

impl Process {
    /// The process of an image, or that of a command in its shell.
    pub(super) fn new(init: &Init, execution: &Execution, home: &[u8]) -> Result<Self, GuestError> {
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
        let stop_signal = signal::number(name).ok_or_else(|| GuestError::StopSignal { name: name.to_owned() })?;
        // One that is relative begins at the root, as in Docker.
        let working_directory = [b"/", execution.working_dir.trim_start_matches('/').as_bytes()].concat();
        let process = Self {
            arguments,
            environment: environment(&execution.env, home)?,
            working_directory,
            stop_signal,
        };
        process.check_nul()?;
        Ok(process)
    }

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

/// The config's variables, of which the last of a name counts, a `PATH` and a `HOME`. An empty `HOME` is none, as in runc.
fn environment(entries: &[String], home: &[u8]) -> Result<Vec<Vec<u8>>, GuestError> {
    let mut variables: Vec<(&[u8], &[u8])> = vec![(b"PATH", DEFAULT_PATH.as_bytes())];
    for entry in entries {
        let (name, value) = entry
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| GuestError::Variable { entry: entry.clone() })?;
        set(&mut variables, name.as_bytes(), value.as_bytes());
    }
    if variables
        .iter()
        .all(|(name, value)| *name != b"HOME" || value.is_empty())
    {
        set(&mut variables, b"HOME", home);
    }
    Ok(variables
        .into_iter()
        .map(|(name, value)| [name, b"=", value].concat())
        .collect())
}

fn set<'a>(variables: &mut Vec<(&'a [u8], &'a [u8])>, name: &'a [u8], value: &'a [u8]) {
    match variables.iter_mut().find(|(existing, _)| *existing == name) {
        Some((_, existing)) => *existing = value,
        None => variables.push((name, value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn process(config: serde_json::Value, exec: Option<&[u8]>) -> Result<Process, GuestError> {
        let execution: Execution = serde_json::from_value(config).unwrap();
        let init = Init {
            path: "/init".parse().unwrap(),
            exec: exec.map(<[u8]>::to_vec),
        };
        Process::new(&init, &execution, b"/home/ana")
    }

    #[test]
    fn the_command_is_the_entrypoint_and_its_default_arguments() {
        let config = json!({"Entrypoint": ["/bin/e", "a b"], "Cmd": ["\n$\"'"]});
        let run = process(config.clone(), None).unwrap();
        assert_eq!(run.arguments, [&b"/bin/e"[..], b"a b", b"\n$\"'"]);
        assert_eq!(run.working_directory, b"/");
        assert_eq!(run.stop_signal, 15);
        let run = process(config, Some(b"echo \xff")).unwrap();
        assert_eq!(run.arguments, [&b"/bin/sh"[..], b"-c", b"echo \xff"]);
    }

    #[test]
    fn the_environment_is_that_of_a_container() {
        let environment = |env: serde_json::Value| {
            let run = process(json!({"Cmd": ["x"], "Env": env}), None).unwrap();
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
            let error = process(json!({"Cmd": ["x"], "Env": [entry]}), None).unwrap_err();
            assert!(matches!(error, GuestError::Variable { .. }), "{entry:?}");
        }
        for config in [
            json!({"Cmd": ["x\0"]}),
            json!({"Cmd": ["x"], "Env": ["A=\0"]}),
            json!({"Cmd": ["x"], "WorkingDir": "/\0"}),
        ] {
            assert!(matches!(process(config, None), Err(GuestError::Nul { .. })));
        }
        let error = process(json!({"Cmd": ["x"], "StopSignal": "SIGSTOPIT"}), None).unwrap_err();
        assert!(matches!(error, GuestError::StopSignal { name } if name == "SIGSTOPIT"));
    }
}
