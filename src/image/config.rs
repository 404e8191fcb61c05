//! The image configuration: image-spec config.md.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::digest::Digest;
use super::manifest::{ManifestError, null_is_default};
use super::platform::Platform;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Config {
    /// The operating system, as written.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// The architecture, as written.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// The version of the architecture, as written.
    pub variant: Option<String>,
    /// When the image was made, in the form of RFC 3339, as written.
    pub created: Option<String>,
    /// How to run a container of the image.
    #[serde(default, rename = "config", deserialize_with = "null_is_default")]
    pub execution: Execution,
    /// What the root file system is made of.
    pub rootfs: Rootfs,
}

/// How to run a container of an image. Empty is what the image leaves to others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Execution {
    /// User or uid, with or without group or gid: `user`, `uid:gid`, …
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: String,
    /// Environment, `NAME=value` each.
    #[serde(default, deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The command that always runs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Default arguments of the entrypoint, or the whole command without one.
    #[serde(default, deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Current directory of the command.
    #[serde(default, deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// The signal that asks the command to stop, such as `SIGTERM`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// Metadata of any kind.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
}

/// What a root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Rootfs {
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Config {
    pub(super) fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let config: Self = serde_json::from_slice(json).map_err(ManifestError::Json)?;
        if config.rootfs.kind != "layers" {
            return Err(ManifestError::RootfsType {
                kind: config.rootfs.kind,
            });
        }
        Ok(config)
    }

    /// What there is to say of one layer without a config.
    pub(super) fn of_layer(platform: &Platform, diff_id: Digest) -> Self {
        Self {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            created: None,
            execution: Execution::default(),
            rootfs: Rootfs {
                kind: "layers".to_owned(),
                diff_ids: vec![diff_id],
            },
        }
    }

    /// Returns the platform that the image was built for; what the config leaves out is that of
    /// `otherwise`.
    pub(crate) fn platform(&self, otherwise: &Platform) -> Result<Platform, ManifestError> {
        let os = if self.os.is_empty() { &otherwise.os } else { &self.os };
        let (architecture, variant) = if self.architecture.is_empty() {
            (&otherwise.architecture, &otherwise.variant)
        } else {
            (&self.architecture, &self.variant)
        };
        Ok(Platform::new(os, architecture, variant.as_deref())?)
    }

    /// Returns whether the config says all of the platform.
    pub(super) fn says_platform(&self) -> bool {
        !self.os.is_empty() && !self.architecture.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn docker_and_buildah_configs_parse() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let docker = json!({
            "architecture": "arm", "variant": "v6", "os": "linux", "created": "2026-01-02T03:04:05.678Z",
            "config": {
                "Hostname": "", "User": "1000:1000", "Env": ["PATH=/bin"], "Cmd": ["sh", "-c", "x"], "Entrypoint": null,
                "WorkingDir": "/srv", "Labels": null, "StopSignal": "SIGINT", "Volumes": {"/data": {}}, "OnBuild": null
            },
            "container_config": {"Cmd": null},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
            "history": [{"created": "2026-01-02T03:04:05.678Z", "empty_layer": true}]
        });
        let config = Config::parse(docker.to_string().as_bytes()).unwrap();
        assert_eq!(config.platform(&s390x()).unwrap().to_string(), "linux/arm/v6");
        assert_eq!(config.execution.cmd, ["sh", "-c", "x"]);
        assert_eq!(config.execution.user, "1000:1000");
        assert!(config.execution.entrypoint.is_empty() && config.execution.labels.is_empty());
        assert_eq!(config.rootfs.diff_ids.len(), 1);

        let scratch = json!({
            "architecture": "amd64", "os": "linux", "config": null, "rootfs": {"type": "layers", "diff_ids": null}
        });
        let config = Config::parse(scratch.to_string().as_bytes()).unwrap();
        assert_eq!(config.execution, Execution::default());
        assert!(config.rootfs.diff_ids.is_empty());
    }

    fn s390x() -> Platform {
        Platform::new("linux", "s390x", Some("z13")).unwrap()
    }

    #[test]
    fn parts_of_the_platform_that_are_left_out_come_from_elsewhere() {
        for (said, expected) in [
            (json!({}), "linux/s390x/z13"),
            (
                json!({"os": null, "architecture": null, "variant": null}),
                "linux/s390x/z13",
            ),
            (json!({"os": "", "architecture": "", "variant": ""}), "linux/s390x/z13"),
            (json!({"os": "windows"}), "windows/s390x/z13"),
            (json!({"architecture": "arm64"}), "linux/arm64"),
            (json!({"architecture": "arm", "variant": "v6"}), "linux/arm/v6"),
            (json!({"os": "Linux", "architecture": "x86_64"}), "linux/amd64"),
        ] {
            let mut config = said.clone();
            config["rootfs"] = json!({"type": "layers"});
            let config = Config::parse(config.to_string().as_bytes()).unwrap();
            assert_eq!(config.platform(&s390x()).unwrap().to_string(), expected, "{said}");
            let is_said = said["os"] == "Linux";
            assert_eq!(config.says_platform(), is_said, "{said}");
        }
        let config = Config::parse(br#"{"os": "a b", "rootfs": {"type": "layers"}}"#).unwrap();
        assert!(matches!(config.platform(&s390x()), Err(ManifestError::Platform(_))));
    }

    #[test]
    fn null_is_nothing() {
        let nothing = json!({
            "architecture": "amd64", "os": "linux", "variant": null, "created": null, "author": null, "history": null,
            "config": {
                "User": null, "Env": null, "Entrypoint": null, "Cmd": null, "WorkingDir": null, "StopSignal": null,
                "Labels": null, "ExposedPorts": null, "Volumes": null, "Healthcheck": null
            },
            "rootfs": {"type": "layers", "diff_ids": null}
        });
        let config = Config::parse(nothing.to_string().as_bytes()).unwrap();
        assert_eq!(config.execution, Execution::default());
        for inside in [json!({"Env": [null]}), json!({"Labels": {"a": null}})] {
            let mut config = nothing.clone();
            config["config"] = inside;
            assert!(matches!(
                Config::parse(config.to_string().as_bytes()),
                Err(ManifestError::Json(_))
            ));
        }
    }

    #[test]
    fn a_config_must_be_made_of_layers() {
        let config = |os: &str, kind: &str| {
            let json = json!({"architecture": "amd64", "os": os, "rootfs": {"type": kind, "diff_ids": []}});
            Config::parse(json.to_string().as_bytes())
        };
        assert!(matches!(config("linux", "other"), Err(ManifestError::RootfsType { kind }) if kind == "other"));
        config("linux", "layers").unwrap();
        assert!(matches!(Config::parse(b"{}"), Err(ManifestError::Json(_))));
    }
}
