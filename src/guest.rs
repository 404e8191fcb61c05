//! What an image needs to run as a machine: an init, which knows what to run and as whom.
//!
//! A container engine reads the image's config, finds out who the user is, and makes the system calls. In a machine the init
//! makes them (`guest/init`), so all that can be found out in the image is found out here, when it is built: what is wrong with
//! it shows then, and not on a console.

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

/// The init that an image is to have. The default is at [`InitPath::DEFAULT`], and runs the command
/// of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Init {
    /// Where in the image it will be.
    pub path: InitPath,
    /// A command for `/bin/sh -c` in place of the image's own, without NUL.
    pub exec: Option<Vec<u8>>,
}

impl Init {
    /// An init at a path, for the command of the image.
    #[must_use]
    pub fn new(path: InitPath) -> Self {
        Self { path, exec: None }
    }
}

/// An init that can be put into an image once its layers are there.
#[derive(Debug)]
pub struct Guest<'a> {
    init: &'a Init,
    program: &'static [u8],
    execution: &'a ExecutionConfig,
}

impl<'a> Guest<'a> {
    /// The init for an image.
    ///
    /// # Errors
    ///
    /// [`GuestError::Platform`] and [`GuestError::NoCommand`]: what shows before any layer is there.
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

    /// Puts the init into an image, and what it needs to be there.
    ///
    /// # Errors
    ///
    /// [`GuestError`]: the image lacks something, or has something in the way.
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
    fn what_cannot_boot_is_refused_before_any_layer_is_read() {
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
