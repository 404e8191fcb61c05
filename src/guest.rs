//! Installs an init in an image, so that the image boots as a virtual machine.
//!
//! A container engine reads the image's config, resolves the user, and makes the system calls. In a
//! machine, the init (`guest/init`) makes them. Everything that the image decides is decided here,
//! when the image is built: who `User` is, which signal `StopSignal` names, what `PATH` and `HOME`
//! are, and whether a shell for a command exists. So a faulty config fails the build with an error,
//! instead of the boot with a line on a console.
//!
//! The init is one program for all images, since many of them have no shell. It is prebuilt
//! (`init/`), since few machines have compilers for both architectures. `tests/init.rs` checks that
//! its sources give exactly these bytes.
//!
//! Boot sequence:
//!
//! 1. The kernel starts the init as PID 1. `install.rs` put it into the image, with the mount
//!    points and the working directory.
//! 2. The init finds its configuration in memory: `program.rs` appended it as the program's last
//!    segment. It mounts file systems, brings up the network, and starts the command.
//! 3. When the command ends, the init kills all other processes, remounts the root read-only,
//!    prints the exit status on the console, and powers off. The status comes last, so that power
//!    can be cut once it is printed.

mod accounts;
mod command;
mod error;
mod install;
mod path;
mod program;
mod signal;
mod tmpfs;

use ext4::Output;

use layer::RootfsBuilder;
use oci::{ExecutionConfig, Image};

pub use error::GuestError;
pub use path::{InitPath, InitPathError};

/// An init to install in an image. The default is at [`InitPath::DEFAULT`] and runs the command of
/// the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Init {
    /// Path of the init in the image.
    pub path: InitPath,
    /// Command for `/bin/sh -c` instead of the image's own, without NUL.
    pub exec: Option<Vec<u8>>,
}

impl Init {
    /// Creates an init at a path, for the command of the image.
    #[must_use]
    pub fn new(path: InitPath) -> Self {
        Self { path, exec: None }
    }
}

/// An init for an image, checked against the image's config, to be installed once the layers are
/// applied.
#[derive(Debug)]
pub struct Guest<'a> {
    init: &'a Init,
    program: &'static [u8],
    execution: &'a ExecutionConfig,
}

impl<'a> Guest<'a> {
    /// Creates the init for an image.
    ///
    /// # Errors
    ///
    /// [`GuestError::Platform`] and [`GuestError::NoCommand`], which do not depend on the layers.
    pub fn new(init: &'a Init, image: &'a Image) -> Result<Self, GuestError> {
        let program = program::prebuilt_program(&image.platform).ok_or_else(|| GuestError::Platform {
            platform: Box::new(image.platform.clone()),
        })?;
        let execution = &image.config.execution;
        if init.exec.is_none() && execution.entrypoint.is_empty() && execution.cmd.is_empty() {
            return Err(GuestError::NoCommand);
        }
        Ok(Self {
            init,
            program,
            execution,
        })
    }

    /// Installs the init in the file system of the image, with the directories that it needs.
    ///
    /// # Errors
    ///
    /// [`GuestError`]: the image lacks something that the init needs, or has something in the way.
    pub fn install<O: Output>(&self, rootfs: &mut RootfsBuilder<O>) -> Result<(), GuestError> {
        install::install(self, rootfs)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use oci::{Config, Platform};

    fn refusal(architecture: &str, execution: &serde_json::Value, exec: Option<Vec<u8>>) -> Option<GuestError> {
        let config = json!({
            "os": "linux", "architecture": architecture, "config": execution, "rootfs": {"type": "layers"}
        });
        let image = Image::new(
            "oci:image".to_owned(),
            format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            Platform::new("linux", architecture, None).unwrap(),
            Config::parse(config.to_string().as_bytes()).unwrap(),
        );
        let path = "/init".parse().unwrap();
        Guest::new(&Init { path, exec }, &image).err()
    }

    #[test]
    fn images_that_cannot_boot_are_refused_before_layers_are_read() {
        let command = json!({"Cmd": ["x"]});
        assert!(refusal("amd64", &command, None).is_none() && refusal("arm64", &command, None).is_none());
        let error = refusal("riscv64", &command, None).unwrap();
        assert!(matches!(error, GuestError::Platform { platform } if platform.architecture == "riscv64"));
        assert!(matches!(
            refusal("amd64", &json!({}), None),
            Some(GuestError::NoCommand)
        ));
        assert!(refusal("amd64", &json!({}), Some(b"true".to_vec())).is_none());
    }
}
