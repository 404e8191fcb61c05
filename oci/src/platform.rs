//! Platforms, normalised and matched as containerd does it (`containerd/platforms`, database.go and compare.go).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The operating system and the processor that an image is for, in the words of Go's `GOOS` and `GOARCH`.
///
/// Always in normal form, so that equal platforms compare equal: `amd64/v1` is `amd64`, `arm64/v8` is `arm64`, `arm` is
/// `arm/v7`, and names that others use (`x86_64`, `aarch64`, `i386`, `armhf`, …) are translated.
///
/// Its JSON is that of the command `microagent`:
/// `{"os":"linux","architecture":"arm","variant":"v7"}`, the variant `null` where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The architecture, such as `amd64`.
    pub architecture: String,
    /// The version of the architecture, such as `v7`; none for the usual one of `amd64` and `arm64`.
    pub variant: Option<String>,
}

/// Farther than any older level of the same architecture.
pub(super) const OTHER_ARCHITECTURE: u32 = 1 << 20;

/// Farther than all others that match.
const NEWER_LEVEL: u32 = 2 * OTHER_ARCHITECTURE;

impl Platform {
    /// The platform of these names, normalised. An empty variant is none.
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

    /// The platform of an operating system and an architecture with or without a variant, such as `arm/v7`.
    ///
    /// # Errors
    ///
    /// As [`Platform::new`].
    pub fn parse(os: &str, architecture: &str) -> Result<Self, PlatformError> {
        match architecture.split_once('/') {
            Some((architecture, variant)) => Self::new(os, architecture, Some(&name("variant", variant)?)),
            None => Self::new(os, architecture, None),
        }
    }

    /// Linux on the architecture of this machine.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = normalize(Self::host_architecture(), None);
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The architecture of this machine, as image-spec calls it.
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

    /// Distance of the platform `offered` from this one: 0 is the same, more is an older level of
    /// the same architecture that this one runs too (`amd64` for `amd64/v3`, `arm/v6` for
    /// `arm/v7`), still more is the 32-bit architecture that such processors run (`386` for
    /// `amd64`, `arm` for `arm64`), and most of all is `amd64/v2` for `amd64`: nearly every machine
    /// has that level, but not those of 2008, nor QEMU's default. None is no match.
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

    /// The variant as a version: `v9.2` is (9, 2).
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

/// Reads a text such as `linux/arm64` or `linux/arm/v7`.
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

/// A name that no platform has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is no {what}: 1 to 64 of the characters A-Z a-z 0-9 _ . -")]
pub struct PlatformError {
    what: &'static str,
    value: String,
}

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
    fn names_are_normalised() {
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
    fn a_platform_is_one_text_too() {
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
    fn impossible_names_are_refused() {
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
    fn the_host_has_a_platform_in_normal_form() {
        assert_eq!(
            linux(Platform::host_architecture()).architecture,
            Platform::host_architecture()
        );
    }

    #[test]
    fn older_levels_of_the_same_architecture_match_from_near_to_far() {
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
