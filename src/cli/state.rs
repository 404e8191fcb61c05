//! Flags for the state directory and the cache in it.

use std::env;
use std::path::PathBuf;

use clap::Args;
use clap::error::ErrorKind;
use microagent::rootfs::default_state_dir;
use oci::Cache;

const LIMIT_VARIABLE: &str = "MICROAGENT_CACHE_LIMIT_MIB";

/// Flag for the state directory.
#[derive(Debug, Args)]
pub(super) struct StateArguments {
    /// Directory for temporary files and caches [default: .microagent in the home directory]
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl StateArguments {
    /// Returns the state directory, or `None` without the flag and without a home directory.
    pub(super) fn find(&self) -> Option<PathBuf> {
        self.state_dir.clone().or_else(default_state_dir)
    }

    /// Returns the state directory.
    ///
    /// # Errors
    ///
    /// A usage error without the flag and without a home directory.
    pub(super) fn directory(&self) -> Result<PathBuf, clap::Error> {
        self.find().ok_or_else(|| {
            clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                "--state-dir is required without a home directory",
            )
        })
    }
}

/// Flags for the cache.
#[derive(Debug, Args)]
pub(super) struct CacheArguments {
    #[arg(
        long,
        value_name = "MIB",
        help = "Limit in MiB on cached downloads after the build; the least recently used are removed first \
                [env: MICROAGENT_CACHE_LIMIT_MIB] [default: 20480]"
    )]
    cache_limit_mib: Option<u64>,

    /// Keep the decompressed layers in the cache, for later builds with this flag
    ///
    /// Later builds of the same layers take 30 to 66 % of the time of the first. This build takes
    /// a fifth longer, and the layers take their unpacked size, within --cache-limit-mib.
    #[arg(long)]
    keep_unpacked: bool,
}

impl CacheArguments {
    /// Returns whether decompressed layers are kept.
    pub(super) fn keep_unpacked(&self) -> bool {
        self.keep_unpacked
    }

    /// Returns the limit on the cache in bytes.
    ///
    /// # Errors
    ///
    /// A usage error if the environment variable is not a number.
    pub(super) fn limit(&self) -> Result<u64, clap::Error> {
        let mib = match self.cache_limit_mib {
            Some(mib) => Some(mib),
            None => limit_from_environment()?,
        };
        Ok(mib.map_or(Cache::DEFAULT_LIMIT, |mib| mib.saturating_mul(1 << 20)))
    }
}

fn limit_from_environment() -> Result<Option<u64>, clap::Error> {
    let Some(value) = env::var_os(LIMIT_VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let value = value.to_string_lossy();
    value.parse().map(Some).map_err(|_| {
        clap::Error::raw(
            ErrorKind::InvalidValue,
            format!("{LIMIT_VARIABLE} is {value:?}: it must be a number of MiB"),
        )
    })
}

/// Returns the home directory, or `None` if it is not set.
pub(super) fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}
