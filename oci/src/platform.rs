//! Platforms, normalized and matched as containerd does it (`containerd/platforms`, database.go and
//! compare.go).
//!
//! An unknown architecture passes through as it is, and matches only itself. One with other names
//! or variants has more places, each with a row in the tests: `normalize` (its other names),
//! `level` and `distance` (the older levels that it runs), and `host_architecture` (Rust's name for
//! it). An init for it is separate: `src/guest/program.rs` lists the prebuilt programs.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The operating system and the processor that an image is for, in the terms of Go's `GOOS` and
/// `GOARCH`.
///
/// Always normalized, so that equal platforms compare equal: `amd64/v1` becomes `amd64`, `arm64/v8`
/// becomes `arm64`, `arm` becomes `arm/v7`, and other names (`x86_64`, `aarch64`, `i386`, `armhf`,
/// …) are translated.
///
/// The JSON form is also that of the command `microagent`:
/// `{"os":"linux","architecture":"arm","variant":"v7"}`, with a `null` variant if there is no
/// variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Platform {
    /// Operating system, such as `linux`.
    pub os: String,
    /// Architecture, such as `amd64`.
    pub architecture: String,
    /// Variant of the architecture, such as `v7`; `None` for the baseline of `amd64` and `arm64`.
    pub variant: Option<String>,
}

/// Least distance of a platform of the 32-bit architecture: greater than that of any older level of
/// the same architecture.
pub(super) const OTHER_ARCHITECTURE: u32 = 1 << 20;

/// Distance of `amd64/v2` from `amd64`: greater than that of all other matches.
const NEWER_LEVEL: u32 = 2 * OTHER_ARCHITECTURE;

impl Platform {
    /// Returns the platform of these names, normalized. An empty variant counts as missing.
    ///
    /// # Errors
    ///
    /// [`PlatformError`] when a name is not 1 to 64 characters of `A-Z a-z 0-9 _ . -`.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Result<Self, PlatformError> {
        let os = name("operating system", os)?;
        let architecture = name("architecture", architecture)?;
        let variant = variant
            .filter(|variant| !variant.is_empty())
            .map(|variant| name("variant", variant))
            .transpose()?;
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let (architecture, variant) = normalize(&architecture, variant.as_deref());
        Ok(Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }

    /// Returns a platform. `architecture` may include a variant: `arm/v7`.
    ///
    /// # Errors
    ///
    /// Those of [`Platform::new`].
    pub fn parse(os: &str, architecture: &str) -> Result<Self, PlatformError> {
        match architecture.split_once('/') {
            Some((architecture, variant)) => Self::new(os, architecture, Some(&name("variant", variant)?)),
            None => Self::new(os, architecture, None),
        }
    }

    /// Returns Linux on the architecture of this machine.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = normalize(Self::host_architecture(), None);
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Returns the architecture of this machine, as image-spec names it.
    #[must_use]
    pub fn host_architecture() -> &'static str {
        let little = cfg!(target_endian = "little");
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if little => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        }
    }

    /// Returns the distance of the platform `offered` from this one, or `None` if it does not
    /// match. From near to far:
    ///
    /// 1. the same platform, at distance 0;
    /// 2. an older level of the same architecture, which this one also runs: `amd64` for
    ///    `amd64/v3`, `arm/v6` for `arm/v7`;
    /// 3. the 32-bit architecture that such processors run: `386` for `amd64`, `arm` for `arm64`;
    /// 4. `amd64/v2` for `amd64`. Nearly every machine has that level, but not those of 2008, nor
    ///    QEMU's default.
    pub(super) fn distance(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os {
            return None;
        }
        if self.architecture != offered.architecture {
            return self
                .distance_of_32_bits(offered)
                .map(|distance| OTHER_ARCHITECTURE + distance);
        }
        if self.variant == offered.variant {
            return Some(0);
        }
        match (self.architecture.as_str(), self.level()?, offered.level()?) {
            ("arm64", (9, wanted), (8, offered)) => Some(wanted + 1 + (wanted + 5).checked_sub(offered)?),
            ("arm64", (wanted_major, wanted), (offered_major, offered)) if wanted_major == offered_major => {
                wanted.checked_sub(offered)
            }
            ("amd64", (1, 0), (2, 0)) => Some(NEWER_LEVEL),
            ("amd64" | "arm", (wanted, 0), (offered, 0)) => wanted.checked_sub(offered),
            _ => None,
        }
    }

    /// Returns the distance of a platform of the 32-bit architecture that this one runs, from 0.
    fn distance_of_32_bits(&self, offered: &Self) -> Option<u32> {
        match (self.architecture.as_str(), offered.architecture.as_str()) {
            ("amd64", "386") => Some(0),
            ("arm64", "arm") => match offered.level()? {
                (level @ 5..=8, 0) => Some(8 - level),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the variant as a version: `v9.2` is (9, 2).
    fn level(&self) -> Option<(u32, u32)> {
        let variant = match (self.architecture.as_str(), &self.variant) {
            (_, Some(variant)) => variant,
            ("amd64", None) => "v1",
            ("arm64", None) => "v8",
            (_, None) => return None,
        };
        let version = variant.strip_prefix('v')?;
        let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
        Some((major.parse::<u16>().ok()?.into(), minor.parse::<u16>().ok()?.into()))
    }
}

/// Parses a text such as `linux/arm64` or `linux/arm/v7`.
impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        match text.split_once('/') {
            Some((os, architecture)) => Self::parse(os, architecture),
            None => Self::parse(text, ""),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// An invalid name in a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {what}: 1 to 64 of the characters A-Z a-z 0-9 _ . -")]
pub struct PlatformError {
    what: &'static str,
    value: String,
}

/// Returns a name in lower case, if it is valid. `what` is its part of the platform, for errors.
fn name(what: &'static str, value: &str) -> Result<String, PlatformError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if value.is_empty() || value.len() > 64 || !value.bytes().all(is_legal) {
        return Err(PlatformError {
            what,
            value: value.chars().take(64).collect(),
        });
    }
    Ok(value.to_ascii_lowercase())
}

/// Translates an architecture and a variant into their normal form.
fn normalize<'a>(architecture: &'a str, variant: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    match (architecture, variant) {
        ("i386" | "x86", _) => ("386", None),
        ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", None | Some("8" | "v8" | "v8.0")) => ("arm64", None),
        ("aarch64" | "arm64", Some("9" | "9.0" | "v9.0")) => ("arm64", Some("v9")),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
        ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
        ("arm", Some("5")) => ("arm", Some("v5")),
        ("arm", Some("8")) => ("arm", Some("v8")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(architecture: &str) -> Platform {
        Platform::parse("linux", architecture).unwrap()
    }

    #[test]
    fn names_are_normalized() {
        for (given, normal) in [
            ("amd64", "linux/amd64"),
            ("x86_64", "linux/amd64"),
            ("AMD64/v1", "linux/amd64"),
            ("amd64/v3", "linux/amd64/v3"),
            ("arm64", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("arm64/v8", "linux/arm64"),
            ("arm64/v9.0", "linux/arm64/v9"),
            ("arm", "linux/arm/v7"),
            ("arm/7", "linux/arm/v7"),
            ("arm/v6", "linux/arm/v6"),
            ("armhf", "linux/arm/v7"),
            ("i386", "linux/386"),
            ("riscv64", "linux/riscv64"),
            ("ppc64le/power9", "linux/ppc64le/power9"),
        ] {
            assert_eq!(linux(given).to_string(), normal, "{given}");
        }
        assert_eq!(
            Platform::new("macOS", "arm64", Some("")).unwrap().to_string(),
            "darwin/arm64"
        );
    }

    #[test]
    fn json_has_a_variant_or_null() {
        let json = |architecture| serde_json::to_string(&linux(architecture)).unwrap();
        assert_eq!(json("arm/v6"), r#"{"os":"linux","architecture":"arm","variant":"v6"}"#);
        assert_eq!(json("amd64"), r#"{"os":"linux","architecture":"amd64","variant":null}"#);
    }

    #[test]
    fn platform_is_parsed_from_one_text() {
        for (given, normal) in [
            ("linux/arm64", "linux/arm64"),
            ("Linux/aarch64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(given.parse::<Platform>().unwrap().to_string(), normal);
        }
        for text in ["", "linux", "arm64", "linux/", "/arm64", "linux/arm/v7/x"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn invalid_names_are_refused() {
        for architecture in [
            "",
            "/",
            "amd64/",
            "/v7",
            "arm/v7/x",
            "amd 64",
            "a\x1b[31m",
            &"a".repeat(65),
        ] {
            assert!(Platform::parse("linux", architecture).is_err(), "{architecture:?}");
        }
        assert!(Platform::parse("", "amd64").is_err());
    }

    #[test]
    fn host_architecture_is_normalized() {
        assert_eq!(
            linux(Platform::host_architecture()).architecture,
            Platform::host_architecture()
        );
    }

    #[test]
    fn older_levels_match_from_near_to_far() {
        for (wanted, from_near_to_far) in [
            ("amd64/v3", &["amd64/v3", "amd64/v2", "amd64"][..]),
            ("arm/v7", &["arm/v7", "arm/v6", "arm/v5"]),
            (
                "arm64/v9.1",
                &["arm64/v9.1", "arm64/v9", "arm64/v8.6", "arm64/v8.5", "arm64/v8"],
            ),
            (
                "arm64/v8.2",
                &[
                    "arm64/v8.2",
                    "arm64/v8.1",
                    "arm64",
                    "arm/v8",
                    "arm/v7",
                    "arm/v6",
                    "arm/v5",
                ],
            ),
            ("amd64", &["amd64", "386", "amd64/v2"]),
            ("amd64/v3", &["amd64/v3", "amd64/v2", "amd64", "386"]),
            ("ppc64le/power9", &["ppc64le/power9"]),
        ] {
            let distances: Vec<_> = from_near_to_far
                .iter()
                .map(|offered| linux(wanted).distance(&linux(offered)).unwrap())
                .collect();
            assert_eq!(distances[0], 0, "{wanted}");
            assert!(distances.is_sorted_by(|a, b| a < b), "{wanted}: {distances:?}");
        }
    }

    #[test]
    fn newer_levels_and_other_architectures_never_match() {
        for (wanted, offered) in [
            ("amd64", "amd64/v3"),
            ("amd64", "amd64/v2.1"),
            ("amd64/v2", "amd64/v3"),
            ("386", "amd64"),
            ("amd64", "arm/v7"),
            ("arm", "arm64"),
            ("arm64", "arm/v9"),
            ("arm64", "386"),
            ("arm64", "arm64/v9"),
            ("arm64/v8.9", "arm64/v9"),
            ("arm64/v9", "arm64/v8.6"),
            ("arm/v6", "arm"),
            ("ppc64le", "ppc64le/power9"),
            ("ppc64le/power9", "ppc64le"),
            ("amd64/v3", "amd64/strange"),
        ] {
            assert_eq!(linux(wanted).distance(&linux(offered)), None, "{wanted} {offered}");
        }
        assert_eq!(
            linux("amd64").distance(&Platform::parse("windows", "amd64").unwrap()),
            None
        );
    }
}
