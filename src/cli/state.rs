//! Where downloads are kept, and how many.

use std::env;
use std::path::PathBuf;

use clap::Args;
use clap::error::ErrorKind;
use microagent::rootfs::default_state_dir;
use oci::Cache;

const LIMIT_VARIABLE: &str = "MICROAGENT_CACHE_LIMIT_MIB";

/// The flag that says where downloads are kept.
#[derive(Debug, Args)]
pub(super) struct StateArguments {
    /// Directory for temporary files and caches [default: .microagent in the home directory]
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl StateArguments {
    /// The directory; none where nobody named one and there is no home directory.
    pub(super) fn find(&self) -> Option<PathBuf> {
        self.state_dir.clone().or_else(default_state_dir)
    }

    /// The directory.
    ///
    /// # Errors
    ///
    /// That there is none.
    pub(super) fn directory(&self) -> Result<PathBuf, clap::Error> {
        self.find().ok_or_else(|| {
            clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                "--state-dir is required where there is no home directory",
            )
        })
    }
}

/// The flags that say what is kept, and how much.
#[derive(Debug, Args)]
pub(super) struct CacheArguments {
    #[arg(
        long,
        value_name = "MIB",
        help = "How much of the downloads stays for other builds when this one is over; what was not used for longest \
                goes first [env: MICROAGENT_CACHE_LIMIT_MIB] [default: 20480]"
    )]
    cache_limit_mib: Option<u64>,

    /// Keep the layers as they are when they are unpacked, for builds of the same layers to come that have this flag too: they take less
    /// than half the time. It takes the space that the layers have then, within --cache-limit-mib
    #[arg(long)]
    keep_unpacked: bool,
}

impl CacheArguments {
    /// Whether layers are kept as they are when they are unpacked.
    pub(super) fn keep_unpacked(&self) -> bool {
        self.keep_unpacked
    }

    /// The limit in bytes.
    ///
    /// # Errors
    ///
    /// A variable that is no number.
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

/// The home directory, if there is one.
pub(super) fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}
