//! Reads image configurations: image-spec config.md.

use std::collections::BTreeMap;

use super::digest::Digest;
use super::json;
use super::manifest::ManifestError;
use super::platform::Platform;

/// The config of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Operating system, as written; empty if missing.
    pub os: String,
    /// Architecture, as written; empty if missing.
    pub architecture: String,
    /// Variant of the architecture, as written.
    pub variant: Option<String>,
    /// Creation time of the image in the form of RFC 3339, as written.
    pub created: Option<String>,
    /// Defaults for running a container of the image.
    pub execution: ExecutionConfig,
    /// Layers of the root file system.
    pub rootfs: RootfsConfig,
}

/// Defaults for running a container of an image. A field is empty where the image sets none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutionConfig {
    /// User or UID, with or without group or GID: `user`, `uid:gid`, …
    pub user: String,
    /// Environment variables, each `NAME=value`.
    pub env: Vec<String>,
    /// Command that always runs.
    pub entrypoint: Vec<String>,
    /// Default arguments of the entrypoint; without an entrypoint, the whole command.
    pub cmd: Vec<String>,
    /// Working directory of the command.
    pub working_dir: String,
    /// Signal that asks the command to stop, such as `SIGTERM`.
    pub stop_signal: String,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// The layers of a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootfsConfig {
    kind: String,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

impl Config {
    /// Parses the config of an image.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] when it is not JSON, or not the config of an image.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let text = json::lossy_text(json);
        let object = json::object(json::document(&text).map_err(ManifestError::json)?)?;
        object.get("history", |history| json::list(history, json::object))?;
        let config = Self {
            os: object.get_or_default("os", json::text)?,
            architecture: object.get_or_default("architecture", json::text)?,
            variant: object.get("variant", json::text)?,
            created: object.get("created", json::text)?,
            execution: object.get_or_default("config", ExecutionConfig::read)?,
            rootfs: object.require("rootfs", RootfsConfig::read)?,
        };
        if !is_layers_type(&config.rootfs.kind) {
            return Err(ManifestError::RootfsType {
                kind: config.rootfs.kind,
            });
        }
        Ok(config)
    }

    /// Returns whether a blob is the config of an image, valid or not: its `rootfs` has the type
    /// `layers`, or `diff_ids` without a type. No other document has these.
    pub(super) fn is_image_config(json: &[u8]) -> bool {
        let text = json::lossy_text(json);
        let Ok(document) = json::document(&text) else {
            return false;
        };
        let rootfs = json::object(document).and_then(|config| {
            config.get("rootfs", |rootfs| {
                let rootfs = json::object(rootfs)?;
                let kind = rootfs.get_or_default("type", json::text)?;
                Ok(is_layers_type(&kind) && (rootfs.contains("type") || rootfs.contains("diff_ids")))
            })
        });
        rootfs == Ok(Some(true))
    }

    /// Returns a config for one layer without a config of its own.
    pub(super) fn for_single_layer(platform: &Platform, diff_id: Digest) -> Self {
        Self {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            created: None,
            execution: ExecutionConfig::default(),
            rootfs: RootfsConfig {
                kind: "layers".to_owned(),
                diff_ids: vec![diff_id],
            },
        }
    }

    /// Returns the platform that the image was built for. A missing operating system or
    /// architecture is taken from `fallback`.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Platform`] when a name in it is invalid.
    pub fn platform(&self, fallback: &Platform) -> Result<Platform, ManifestError> {
        let os = if self.os.is_empty() { &fallback.os } else { &self.os };
        let (architecture, variant) = if self.architecture.is_empty() {
            (&fallback.architecture, &fallback.variant)
        } else {
            (&self.architecture, &self.variant)
        };
        Ok(Platform::new(os, architecture, variant.as_deref())?)
    }

    /// Returns the platform in the config, as written, if it differs from `listed`. A missing part
    /// never differs.
    pub(super) fn conflicting_platform(&self, listed: &Platform) -> Option<String> {
        let given = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let os = given(&self.os).unwrap_or_else(|| listed.os.clone());
        let architecture = given(&self.architecture).unwrap_or_else(|| listed.architecture.clone());
        let variant = self.variant.as_deref().and_then(given);
        let level = variant.as_ref().or(listed.variant.as_ref());
        if Platform::new(&os, &architecture, level.map(String::as_str)).as_ref() == Ok(listed) {
            return None;
        }
        let parts = [Some(os), Some(architecture), variant].into_iter().flatten();
        let parts: Vec<String> = parts.map(|part| part.chars().take(64).collect()).collect();
        Some(parts.join("/"))
    }

    /// Returns whether the config names both an operating system and an architecture.
    pub(super) fn names_platform(&self) -> bool {
        !self.os.is_empty() && !self.architecture.is_empty()
    }
}

impl ExecutionConfig {
    fn read(value: &json::Value) -> Result<Self, json::Error> {
        let object = json::object(value)?;
        for name in ["ExposedPorts", "Volumes"] {
            object.get(name, json::object)?;
        }
        Ok(Self {
            user: object.get_or_default("User", json::text)?,
            env: object.get_or_default("Env", json::text_or_list)?,
            entrypoint: object.get_or_default("Entrypoint", json::text_or_list)?,
            cmd: object.get_or_default("Cmd", json::text_or_list)?,
            working_dir: object.get_or_default("WorkingDir", json::text)?,
            stop_signal: object.get_or_default("StopSignal", json::text)?,
            labels: object.get_or_default("Labels", |labels| json::map(labels, json::text))?,
        })
    }
}

impl RootfsConfig {
    fn read(value: &json::Value) -> Result<Self, json::Error> {
        let object = json::object(value)?;
        Ok(Self {
            kind: object.get_or_default("type", json::text)?,
            diff_ids: object.get_or_default("diff_ids", |digests| json::list(digests, json::parsed))?,
        })
    }
}

/// Returns whether a `rootfs.type` is `layers`, the only type in the specification, or missing.
fn is_layers_type(kind: &str) -> bool {
    matches!(kind, "" | "layers")
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
        assert_eq!(config.execution, ExecutionConfig::default());
        assert!(config.rootfs.diff_ids.is_empty());
    }

    fn s390x() -> Platform {
        Platform::new("linux", "s390x", Some("z13")).unwrap()
    }

    #[test]
    fn missing_parts_of_the_platform_come_from_the_fallback() {
        for (json, expected) in [
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
            let mut config = json.clone();
            config["rootfs"] = json!({"type": "layers"});
            let config = Config::parse(config.to_string().as_bytes()).unwrap();
            assert_eq!(config.platform(&s390x()).unwrap().to_string(), expected, "{json}");
            let complete = json["os"] == "Linux";
            assert_eq!(config.names_platform(), complete, "{json}");
        }
        let config = Config::parse(br#"{"os": "a b", "rootfs": {"type": "layers"}}"#).unwrap();
        assert!(matches!(config.platform(&s390x()), Err(ManifestError::Platform(_))));
    }

    #[test]
    fn null_counts_as_missing() {
        let nothing = json!({
            "architecture": "amd64", "os": "linux", "variant": null, "created": null, "author": null, "history": null,
            "config": {
                "User": null, "Env": null, "Entrypoint": null, "Cmd": null, "WorkingDir": null, "StopSignal": null,
                "Labels": null, "ExposedPorts": null, "Volumes": null, "Healthcheck": null
            },
            "rootfs": {"type": "layers", "diff_ids": null}
        });
        let config = Config::parse(nothing.to_string().as_bytes()).unwrap();
        assert_eq!(config.execution, ExecutionConfig::default());
        config_of(&json!({"history": [null], "config": {"Env": [null], "Labels": {"a": null}}})).unwrap();
    }

    /// Parses a config without layers that has these members too.
    fn config_of(json: &serde_json::Value) -> Result<Config, ManifestError> {
        let mut config = json.clone();
        config["rootfs"] = json!({"type": "layers"});
        Config::parse(config.to_string().as_bytes())
    }

    #[test]
    fn configs_are_read_as_docker_reads_them() {
        let config = config_of(&json!({
            "created": 1_700_000_000, "history": [{"created": 5}], "unknown": [[{}], 1e300],
            "config": {
                "User": 1000, "Env": ["A=b", null, "C=d"], "Entrypoint": "/bin/run me", "Cmd": "", "StopSignal": 15,
                "Labels": {"a": null, "b": 2, "c": true}, "ExposedPorts": {"80/tcp": {}}, "Healthcheck": []
            }
        }));
        let Config { created, execution, .. } = config.unwrap();
        assert_eq!(created.as_deref(), Some("1700000000"));
        assert_eq!(execution.user, "1000");
        assert_eq!(execution.env, ["A=b", "C=d"]);
        assert_eq!(execution.entrypoint, ["/bin/run me"]);
        assert!(execution.cmd.is_empty());
        assert_eq!(execution.stop_signal, "15");
        let labels = execution.labels.iter().map(|(name, value)| format!("{name}={value}"));
        assert_eq!(labels.collect::<Vec<_>>(), ["b=2", "c=true"]);
    }

    #[test]
    fn a_faulty_member_is_named() {
        for (json, expected) in [
            (json!({"config": ["root"]}), "config is a list, not an object"),
            (
                json!({"config": {"Env": {"A": "b"}}}),
                "config.Env is an object, not a list of strings",
            ),
            (
                json!({"config": {"Cmd": ["a", {}]}}),
                "config.Cmd[1] is an object, not a string",
            ),
            (
                json!({"config": {"Labels": ["a"]}}),
                "config.Labels is a list, not an object",
            ),
            (
                json!({"config": {"Volumes": ["/a"]}}),
                "config.Volumes is a list, not an object",
            ),
            (json!({"history": [["now"]]}), "history[0] is a list, not an object"),
            (json!({"os": {}}), "os is an object, not a string"),
        ] {
            let Err(ManifestError::Json(error)) = config_of(&json) else {
                panic!("{json}")
            };
            assert_eq!(error.to_string(), expected);
        }
        let faulty = json!({"rootfs": {"type": "layers", "diff_ids": ["md5:00"]}});
        let Err(ManifestError::Json(error)) = Config::parse(faulty.to_string().as_bytes()) else {
            panic!("no error of its form")
        };
        assert!(error.to_string().starts_with("rootfs.diff_ids[0]: "), "{error}");
        assert!(matches!(Config::parse(b"[]"), Err(ManifestError::Json(_))));
    }

    #[test]
    fn missing_parts_never_conflict_with_the_listed_platform() {
        let listed = Platform::new("linux", "arm", Some("v6")).unwrap();
        for (json, expected) in [
            (json!({}), None),
            (json!({"os": "", "architecture": null}), None),
            (json!({"os": "Linux", "architecture": "arm"}), None),
            (json!({"architecture": "arm", "variant": "6"}), None),
            (json!({"architecture": "arm", "variant": "v7"}), Some("linux/arm/v7")),
            (json!({"architecture": "arm64"}), Some("linux/arm64")),
            (json!({"os": "windows"}), Some("windows/arm")),
            (json!({"os": "a b", "architecture": "arm"}), Some("a b/arm")),
        ] {
            let config = config_of(&json).unwrap();
            assert_eq!(config.conflicting_platform(&listed).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn rootfs_type_must_be_layers() {
        let config = |os: &str, kind: &str| {
            let json = json!({"architecture": "amd64", "os": os, "rootfs": {"type": kind, "diff_ids": []}});
            Config::parse(json.to_string().as_bytes())
        };
        assert!(matches!(config("linux", "other"), Err(ManifestError::RootfsType { kind }) if kind == "other"));
        config("linux", "layers").unwrap();
        config("linux", "").unwrap();
        assert!(matches!(Config::parse(b"{}"), Err(ManifestError::Json(_))));
    }
}
