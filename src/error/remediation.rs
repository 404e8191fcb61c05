//! What to do about each failure, for whoever reads it.

use std::io;
use std::path::Path;

use ext4::FormatError;

use super::{BuildError, ErrorKind, Kind, LayerFailure, OutputAction};
use crate::guest::GuestError;
use crate::mke2fs::Mke2fsError;
use crate::stage::{StageError, StageReason};
use layer::{DecodeError, LayerError, LayerErrorKind, StreamFault};
use oci::host::Untrusted;
use oci::{
    ArchiveError, AuthError, FileError, ImageError, LayoutError, ManifestError, ProxyRefusal, RegistryError,
    StoreError, TlsError,
};

const MIB: u64 = 1 << 20;

/// An error that may have advice.
pub trait Remedy {
    /// Returns advice, in words for the command line; `None` where the error itself says all.
    fn remediation(&self) -> Option<String>;
}

impl Remedy for ImageError {
    fn remediation(&self) -> Option<String> {
        image(self)
    }
}

/// Returns advice on a login at a registry that failed, in words for the command line; `None` where
/// the error itself says all.
#[must_use]
pub fn login_remediation(error: &ImageError, registry: &str) -> Option<String> {
    let advice = match error {
        ImageError::Registry(error) => login(error).map(str::to_owned),
        _ => None,
    };
    let advice = advice.or_else(|| error.remediation())?;
    let flags = ["--tls-ca <file>", "--plain-http=false", "--plain-http"];
    let flag = flags.into_iter().find(|flag| advice.contains(flag));
    let flag = flag.map(|flag| format!("{flag} ")).unwrap_or_default();
    Some(format!(
        "{advice}; then log in again: microagent registry login {flag}{registry} -u <user>"
    ))
}

impl Kind for ImageError {
    fn kind(&self) -> ErrorKind {
        self.into()
    }
}

impl Remedy for StoreError {
    fn remediation(&self) -> Option<String> {
        store(self)
    }
}

impl BuildError {
    /// What to do about it, in words for the command line; none where there is nothing to say but the error itself.
    #[must_use]
    pub fn remediation(&self) -> Option<String> {
        match self {
            Self::Mutable { pinned, .. } => Some(pin(pinned.as_deref())),
            Self::OutputNotAFile { found, .. } => Some(another_output(found)),
            Self::Output {
                action: OutputAction::Rename,
                path,
                source,
            } if is_locked(source.kind()) => Some(close(path)),
            Self::Output { source, .. } if untrusted(source).is_some() => untrusted(source),
            Self::Output { path, source, .. } => output(path, source.kind()),
            Self::Image { source, .. } => image(source),
            Self::Layer { source, .. } => layer(source),
            Self::DiskTooLarge { needed, .. } => Some(raise("--max-size-mib", needed.div_ceil(MIB))),
            Self::Guest(error) => guest(error),
            Self::Format(error) => format(error),
            Self::Mke2fs(error) => Some(mke2fs(error)),
            Self::Stage(error) => stage(error),
            Self::Cancelled(_) => Some(RUN_AGAIN.to_owned()),
        }
    }
}

const FETCH_AGAIN: &str = "fetch or push the image again: what is there now is not what its digests promise";
const RAISE_SIZE: &str = "if you trust the image, raise the limit with --max-size-mib";
const ANOTHER_STATE_DIR: &str = "name a directory of your own with --state-dir";
const ANOTHER_AUTH_FILE: &str = "name a file of your own with REGISTRY_AUTH_FILE";
const RUN_AGAIN: &str = "run the same command again";
const DAMAGED: &str =
    "build the image again: the layer was damaged before its digest was taken, so every copy of it is";
const DECRYPT: &str = "decrypt the image first, for example with skopeo copy --decryption-key";
const MAKE_ARCHIVE_AGAIN: &str = "make the archive again, with skopeo copy or docker save, for example";
const BUILD_AGAIN: &str = "build the image again: it contradicts itself, so no other copy of it is better";

fn pin(pinned: Option<&str>) -> String {
    match pinned {
        Some(pinned) => {
            format!("pin the image with --image {pinned}, or accept with --allow-mutable that it may change")
        }
        None => "pin the image with @sha256:<digest>, or accept with --allow-mutable that it may change; \
                 the resolved_ref of a build with --allow-mutable is pinned"
            .to_owned(),
    }
}

fn another_output(found: &str) -> String {
    match found {
        "directory" => "name a file in it with --out",
        "symlink" => "name the file that it leads to with --out, or remove it",
        "device" => "build a file, and copy it to the device afterwards, for example with dd",
        _ => "name another file with --out, or remove it",
    }
    .to_owned()
}

/// Whether a file could not be replaced because of what it is, rather than of where it is: on Windows one that is open, or
/// read-only.
fn is_locked(kind: io::ErrorKind) -> bool {
    kind == io::ErrorKind::ResourceBusy || (cfg!(windows) && kind == io::ErrorKind::PermissionDenied)
}

fn close(path: &Path) -> String {
    format!(
        "close what has {} open, such as a virtual machine, and see that it is not read-only; or name another file with --out",
        path.display()
    )
}

fn output(path: &Path, kind: io::ErrorKind) -> Option<String> {
    match kind {
        io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path).display();
            Some(format!("make the directory first: mkdir -p {directory}"))
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("name a file with --out in a directory that you can write to".to_owned())
        }
        kind => disk_remediation(kind),
    }
}

/// Returns advice on a place that other users have a hand in.
fn untrusted(error: &io::Error) -> Option<String> {
    let advice = match Untrusted::of(error)? {
        Untrusted::Link { .. } => "name the path that the symlink leads to, or a directory of your own",
        Untrusted::Owner { .. } | Untrusted::Writable { .. } | Untrusted::Symlink | Untrusted::Replaced => {
            "name a path in a directory that only you can write to"
        }
        Untrusted::NotAFile(_) => return None,
    };
    Some(advice.to_owned())
}

/// What to do about a disk that does not take what is written.
pub(crate) fn disk_remediation(kind: io::ErrorKind) -> Option<String> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or write to another disk".to_owned())
        }
        io::ErrorKind::FileTooLarge => Some(
            "raise the limit on the size of files (ulimit -f), or write to a file system that takes larger ones"
                .to_owned(),
        ),
        _ => None,
    }
}

fn image(error: &ImageError) -> Option<String> {
    let text = match error {
        ImageError::File(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            "make it readable for you"
        }
        ImageError::File(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            "check the path"
        }
        ImageError::File(FileError::Read { source, .. }) => match DecodeError::of(source)? {
            DecodeError::Stream { .. } => MAKE_ARCHIVE_AGAIN,
            error => return decoding(error),
        },
        ImageError::Archive(ArchiveError::Decode {
            source: DecodeError::Unsupported { .. },
            ..
        }) => "decompress the archive first, or compress it with gzip or zstd",
        ImageError::Archive(ArchiveError::Decode { source, .. } | ArchiveError::Layer { source, .. }) => {
            return decoding(source);
        }
        ImageError::Layout(LayoutError::NoLayout { .. }) => {
            "name the directory that holds the file oci-layout, as oci:<directory>, or a tar of it, as oci-archive:<file>"
        }
        ImageError::Layout(LayoutError::MissingBlob { .. }) => {
            "copy the image into the layout again, whole: skopeo copy --all, for example"
        }
        ImageError::Layout(LayoutError::NoSuchTag { .. } | LayoutError::Ambiguous { .. })
        | ImageError::DockerArchive(_) => "name one of those that there are",
        ImageError::Archive(ArchiveError::Missing { name, .. }) if name == "manifest.json" => {
            "name an archive of docker save, 1.10 or later; one of an OCI layout is written oci-archive:<file>"
        }
        ImageError::Archive(ArchiveError::Missing { .. } | ArchiveError::Damaged { .. }) => MAKE_ARCHIVE_AGAIN,
        ImageError::Archive(ArchiveError::Empty { .. }) => "name a tar, or see why what should write it did not",
        ImageError::File(FileError::Scratch { path, source }) if Untrusted::of(source).is_some() => {
            return refusal(path, source, ANOTHER_STATE_DIR);
        }
        ImageError::File(FileError::Scratch { .. }) => {
            "name a directory with --state-dir that you can write to, with space for what is in the archive"
        }
        ImageError::File(FileError::TooLarge { .. }) => RAISE_SIZE,
        ImageError::DownloadTooLarge { total, .. } => {
            return Some(format!("{RAISE_SIZE}, for example to {}", total.div_ceil(MIB)));
        }
        ImageError::Registry(error) => return registry(error),
        ImageError::Store(error) => return store(error),
        ImageError::Auth(error) => return auth(error),
        ImageError::Content { .. } => FETCH_AGAIN,
        ImageError::NoPlatform { available, .. } => match &available[..] {
            [only] => {
                return Some(format!("if that is the one that you want, say --platform {only}"));
            }
            _ => "ask for one of those that there are with --platform",
        },
        ImageError::Document {
            source: ManifestError::EncryptedLayer { .. },
            ..
        } => DECRYPT,
        ImageError::Document {
            source: ManifestError::NotAnImage { .. } | ManifestError::UnknownLayer { .. },
            ..
        } => "name a container image",
        _ => return None,
    };
    Some(text.to_owned())
}

fn store(error: &StoreError) -> Option<String> {
    let text = match error {
        StoreError::Damaged { .. } => RUN_AGAIN,
        StoreError::Refused { path, source } => return refusal(path, source, ANOTHER_STATE_DIR),
        StoreError::Held { path, .. } => return Some(end_holder(path, ANOTHER_STATE_DIR)),
        _ => "name a directory with --state-dir that you can write to, with space for the layers",
    };
    Some(text.to_owned())
}

fn auth(error: &AuthError) -> Option<String> {
    match error {
        AuthError::Refused { path, source } => refusal(path, source, ANOTHER_AUTH_FILE),
        AuthError::Held { path, .. } => Some(end_holder(path, ANOTHER_AUTH_FILE)),
        AuthError::TooLarge { .. } => Some("name a credentials file with REGISTRY_AUTH_FILE".to_owned()),
        AuthError::Cancelled(_) => Some(RUN_AGAIN.to_owned()),
        _ => None,
    }
}

/// Returns advice on a file or directory that is not used although the system would allow it.
/// `instead` says how to name another one.
fn refusal(path: &Path, source: &io::Error, instead: &str) -> Option<String> {
    const STICKY: u32 = 0o1000;
    let shown = path.display();
    Some(match Untrusted::of(source)? {
        Untrusted::Owner { user, .. } => format!(
            "{instead}, or, if you trust what is in it, take it over: chown -R {user} {shown}; under sudo, the home \
             directory may be that of another user, which sudo -H changes"
        ),
        Untrusted::Writable { mode, .. } if mode & STICKY != 0 => format!("{instead}, which other users do not share"),
        Untrusted::Writable { .. } => format!("take the permission from other users: chmod go-w {shown}; or {instead}"),
        Untrusted::NotAFile(_) | Untrusted::Symlink => format!("remove {shown}, or {instead}"),
        Untrusted::Link { link, .. } => format!("{instead}, by a path without {}", link.display()),
        Untrusted::Replaced => RUN_AGAIN.to_owned(),
    })
}

/// Returns advice on a lock that another process holds.
fn end_holder(lock: &Path, instead: &str) -> String {
    format!(
        "end the process that holds it (fuser {} shows which), or {instead}",
        lock.display()
    )
}

/// Returns advice on what has another meaning when no image is asked for.
fn login(error: &RegistryError) -> Option<&'static str> {
    match error {
        RegistryError::Unauthorized { .. } => Some("check the user and the password, and that the user may log in"),
        RegistryError::NotFound { .. }
        | RegistryError::UnexpectedStatus { .. }
        | RegistryError::Broken { .. }
        | RegistryError::Redirects { .. } => Some("check the host and the port: this may be no registry"),
        _ => None,
    }
}

fn registry(error: &RegistryError) -> Option<String> {
    let text = match error {
        RegistryError::Unauthorized {
            registry,
            credentials: None,
            ..
        } => {
            return Some(format!(
                "check the name; for a private image, log in first: microagent registry login {registry} -u <user>"
            ));
        }
        RegistryError::Unauthorized { registry, .. } => {
            return Some(format!(
                "check the name, and that the user may pull it; log in as another one with: microagent registry login \
                 {registry} -u <user>"
            ));
        }
        RegistryError::NoChallenge { .. } => {
            "check the host; of the ways to log in, this program knows user and password (Basic) and tokens (Bearer)"
        }
        RegistryError::LoginUndecided { .. } => {
            "check the host, and what the registry says; the user and the password may be right"
        }
        RegistryError::WebPage { .. } => {
            "check the host and the port; where a network has a sign-in page, sign in with a browser first"
        }
        RegistryError::Coding { .. } => {
            "have whoever runs the registry, or the proxy before it, send what is asked for: Accept-Encoding: identity"
        }
        RegistryError::InsecureRealm { .. } => {
            "have whoever runs the registry name its token server with https; credentials are never sent in the clear"
        }
        RegistryError::LoginRefused { .. } => {
            "check the user and the password; many registries want an access token in place of the password"
        }
        RegistryError::Runtime(_) => "allow more processes and threads (ulimit -u, pids.max), or end some",
        RegistryError::NotFound { .. } => "check the repository, and the tag or digest",
        RegistryError::Tls { source, .. } => tls(source)?,
        RegistryError::SpeaksPlainHttp { .. } => {
            "check the host and the port; if that is how it is meant to be, accept with --plain-http that anyone between can \
             read and change what is sent"
        }
        // How to speak to other servers, and with which credentials, is not for the user to say.
        RegistryError::Elsewhere { source, .. } if !source.is_transient() => {
            return match **source {
                RegistryError::Tls { .. }
                | RegistryError::NotFound { .. }
                | RegistryError::WebPage { .. }
                | RegistryError::Coding { .. }
                | RegistryError::ProxyRefused { .. }
                | RegistryError::ProxyTls { .. } => registry(source),
                _ => None,
            };
        }
        RegistryError::ProxyVariable { name, .. } => {
            return Some(format!(
                "set {name} to http://<host>:<port>, https://… or socks5://…, with reserved characters of a password \
                 percent-encoded (# as %23); or unset it"
            ));
        }
        RegistryError::ProxyRefused {
            registry,
            proxy,
            variable,
            reason,
        } if !reason.is_transient() => return Some(proxy_refusal(registry, proxy, variable, reason)),
        RegistryError::ProxyUnreachable { registry, variable, .. } => {
            return Some(format!(
                "check the host and the port in {variable}; if {registry} is reached without a proxy, add it to NO_PROXY"
            ));
        }
        RegistryError::ProxyTls { variable, .. } => {
            return Some(format!(
                "begin {variable} with http:// if the proxy does not speak TLS; if its certificate is of an authority of \
                 your own, name that with --tls-ca <file>"
            ));
        }
        RegistryError::SpeaksTls { .. } => "say --plain-http=false, with --tls-ca <file> for an authority of your own",
        RegistryError::CaFile { .. } | RegistryError::CaFormat { .. } | RegistryError::CaTooLarge { .. } => {
            "name a file with certificates in PEM form, which begin with -----BEGIN CERTIFICATE-----"
        }
        error if error.is_transient() => "try again later; check the network if it goes on",
        _ => return None,
    };
    Some(text.to_owned())
}

fn proxy_refusal(registry: &str, proxy: &str, variable: &str, reason: &ProxyRefusal) -> String {
    match reason {
        ProxyRefusal::CredentialsWanted | ProxyRefusal::CredentialsRefused => format!(
            "put a user and a password that it accepts into {variable}, percent-encoded: <user>:<password>@{proxy}"
        ),
        _ => format!(
            "have {registry} allowed by who runs the proxy; if it is reached without a proxy, add it to NO_PROXY"
        ),
    }
}

/// Returns advice on a failed handshake. It is never to accept any certificate.
fn tls(error: &TlsError) -> Option<&'static str> {
    Some(match error {
        TlsError::Expired { .. } => {
            "ask its operator to renew the certificate; if the time here is wrong, set this machine's clock"
        }
        TlsError::NotValidYet { .. } => {
            "check this machine's clock; if it is right, ask the server's operator for a certificate that is valid already"
        }
        TlsError::WrongName { names, .. } if names.is_empty() => {
            "ask its operator for a certificate with the host as subjectAltName"
        }
        TlsError::WrongName { .. } => {
            "check the host; name it as its certificate does, or ask its operator for one with this name as subjectAltName"
        }
        TlsError::SelfSigned | TlsError::AuthorityCertificate => {
            "if you trust this very certificate, name it with --tls-ca <file>"
        }
        TlsError::UnknownAuthority { .. } | TlsError::Untrusted(_) => {
            "if its certificate is of an authority of your own, name that with --tls-ca <file>"
        }
        TlsError::WrongAuthority { .. } => {
            "check the file with the authority's certificate: it may be an older one, or another's of the same name"
        }
        TlsError::WrongPurpose => "ask its operator for a certificate with the extended key usage serverAuth",
        TlsError::Revoked => "ask its operator for a new certificate",
        TlsError::UnsupportedKey { .. } => {
            "ask its operator for a certificate with a key on P-256 or P-384, of Ed25519, or of RSA with 2048 bits or more"
        }
        TlsError::UnsupportedSignature => "ask its operator for a certificate that is signed with SHA-256 or SHA-384",
        TlsError::ClientCertificate => {
            "client certificates are not supported: ask its operator for access with a user and a password"
        }
        TlsError::NoCommonVersion => "ask its operator to enable TLS 1.2 or 1.3, or to update the server",
        TlsError::NoCommonCipher => {
            "see the server's log; supported are TLS 1.3, TLS 1.2 with ECDHE, and certificates with keys on P-256 or P-384, of \
             Ed25519, or of RSA with 2048 bits or more; no client certificates"
        }
        TlsError::UnknownName => "check the host",
        _ => return None,
    })
}

fn layer(failure: &LayerFailure) -> Option<String> {
    match failure {
        LayerFailure::Source(error) => image(error),
        LayerFailure::Blob(_) => Some(FETCH_AGAIN.to_owned()),
        LayerFailure::Copy(_) | LayerFailure::UnreadableCopy(_) => Some(RUN_AGAIN.to_owned()),
        LayerFailure::Apply(LayerError { kind, .. }) => entry(kind),
        LayerFailure::Content(_) => Some(BUILD_AGAIN.to_owned()),
        LayerFailure::Decode(error) => decoding(error),
        LayerFailure::Read(_) => None,
    }
}

fn entry(error: &LayerErrorKind) -> Option<String> {
    let text = match error {
        LayerErrorKind::Image(error) | LayerErrorKind::Unfit(error) => return format(error),
        LayerErrorKind::Read(source) => return DecodeError::of(source).and_then(decoding),
        LayerErrorKind::Cancelled(_) => RUN_AGAIN,
        LayerErrorKind::Truncated { .. }
        | LayerErrorKind::Checksum
        | LayerErrorKind::LoneZeroBlock
        | LayerErrorKind::NoEntryForExtension => DAMAGED,
        LayerErrorKind::NotATar => "build the image again with layers that are tar archives, in gzip, zstd or neither",
        LayerErrorKind::UnsupportedType { flag: b'D', .. } => "make the layer without tar's --listed-incremental",
        LayerErrorKind::UnsupportedType { flag: b'M', .. } | LayerErrorKind::OtherVolume { .. } => {
            "make the layer without tar's --multi-volume"
        }
        LayerErrorKind::UnsupportedType { flag: b'S', .. } => "make the layer without star's -sparse, or with GNU tar",
        LayerErrorKind::UnsupportedType { .. }
        | LayerErrorKind::NotANumber { .. }
        | LayerErrorKind::OutOfRange { .. }
        | LayerErrorKind::ExtensionTooLong { .. }
        | LayerErrorKind::InvalidExtension { .. }
        | LayerErrorKind::GlobalKeyword { .. }
        | LayerErrorKind::InvalidSparseMap { .. }
        | LayerErrorKind::NulInPath { .. } => {
            "build the image again with another tool: what made this layer wrote an entry that cannot be read"
        }
        LayerErrorKind::NameTooLong { .. } | LayerErrorKind::PathTooLong { .. } => {
            "build the image with shorter names and symlinks: Linux could not open this path either"
        }
        LayerErrorKind::InvalidWhiteout { .. } => {
            "leave the entry out of the layer, or name it .wh.<name of the file that it hides>"
        }
        LayerErrorKind::RootNotADirectory | LayerErrorKind::LinkReplacesTarget { .. } => {
            "leave the entry out of the layer"
        }
        LayerErrorKind::SymlinkLoop { .. } => "build the image without the circle, or leave the entry out",
        LayerErrorKind::LinkTargetMissing { .. } => {
            "build the image again with the file before its links, in the same layer or one below"
        }
        LayerErrorKind::LinkToDirectory { .. } => "build the image with a symlink there",
        LayerErrorKind::OutOfMemory { .. } => "free some memory, or raise its limit (ulimit -v)",
        LayerErrorKind::TooLarge { len, .. } => return Some(raise("--max-size-mib", len.div_ceil(MIB))),
        LayerErrorKind::TooManyEntries { count, .. } => return Some(raise("--max-entries", *count)),
        LayerErrorKind::TooMuchMetadata { len, .. } => return Some(raise("--max-metadata-mib", len.div_ceil(MIB))),
        LayerErrorKind::XattrTooLong { .. } | LayerErrorKind::Tree(_) => {
            "change or leave out the entry: no ext4 file system can hold it"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn decoding(error: &DecodeError) -> Option<String> {
    let text = match error {
        DecodeError::Encrypted { .. } => DECRYPT,
        DecodeError::Unsupported { .. } => "build the image again with layers in gzip or zstd",
        DecodeError::Stream {
            fault: StreamFault::Trailing,
            ..
        } => "build the image again: something was appended to the layer, or a part of it was damaged",
        DecodeError::Stream { .. } => DAMAGED,
        DecodeError::WindowTooLarge { .. } => "compress it again with a smaller window: zstd --long=29 or less",
        DecodeError::Dictionary { .. } => "compress it again without a dictionary",
        DecodeError::OutOfMemory { .. } => {
            "free some memory, or raise its limit (ulimit -v); or compress it again with a smaller window"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// How to raise a limit that an image exceeds by what was read of it.
fn raise(flag: &str, least: u64) -> String {
    format!("if you trust the image, raise the limit with {flag}, to {least} at the least")
}

fn guest(error: &GuestError) -> Option<String> {
    let text = match error {
        GuestError::Platform { .. } => "leave the init away with --init none, and boot with one of your own",
        GuestError::NoCommand => {
            "say what to run with --exec, or leave the init away with --init none and boot with the image's own"
        }
        GuestError::NoShell => {
            "leave --exec away to run the image's own command, or build an image whose command is what you want"
        }
        GuestError::ArgumentTooLong { .. }
        | GuestError::VariableTooLong { .. }
        | GuestError::CommandTooLarge { .. } => {
            "shorten Entrypoint, Cmd or Env in the image's config, run a shorter command with --exec, or omit the init \
             with --init none"
        }
        GuestError::TooManyGroups { .. } => {
            "list the user in fewer groups of the image's /etc/group, or omit the init with --init none"
        }
        GuestError::Taken { .. } | GuestError::RunsItself { .. } => "name another path with --init",
        GuestError::Image(error) => return format(error),
        GuestError::Read { source, .. } => return disk_remediation(source.kind()),
        GuestError::Tree(_) => return None,
        _ => "correct the image's config, or leave the init away with --init none",
    };
    Some(text.to_owned())
}

fn mke2fs(error: &Mke2fsError) -> String {
    let advice = "leave --mke2fs away: images are built without it";
    let first = match error {
        Mke2fsError::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Some("name the mke2fs of e2fsprogs with its path".to_owned())
        }
        Mke2fsError::Missing { .. } => Some("install e2fsprogs whole".to_owned()),
        Mke2fsError::Work { source, .. } => disk_remediation(source.kind()),
        _ => None,
    };
    first.map_or_else(|| advice.to_owned(), |first| format!("{first}, or {advice}"))
}

fn stage(error: &StageError) -> Option<String> {
    match &error.reason {
        StageReason::Exists(path) => Some(format!(
            "remove {}, or name another directory with --stage-snapshot: a stage replaces nothing",
            path.display()
        )),
        StageReason::Target { source, .. } if untrusted(source).is_some() => untrusted(source),
        StageReason::Target { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            let directory = error.target.parent().unwrap_or(&error.target).display();
            Some(format!("make the directory first: mkdir -p {directory}"))
        }
        StageReason::Target { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Some("name a directory with --stage-snapshot where you can write".to_owned())
        }
        StageReason::SameName { .. } | StageReason::Name { .. } => Some(
            "name a directory with --stage-snapshot on a file system that takes all names of Linux, or look into the \
             image with rootfs inspect"
                .to_owned(),
        ),
        StageReason::Target { source, .. } | StageReason::Write { source, .. } => disk_remediation(source.kind()),
        _ => None,
    }
}

fn format(error: &FormatError) -> Option<String> {
    match error {
        FormatError::NoSpace { needed, .. } => {
            let mib = needed.div_ceil(MIB);
            Some(format!(
                "ask for --size-mib {mib} or more, or leave it out to make the disk fit"
            ))
        }
        FormatError::TooLarge { max, .. } => Some(format!("ask for --size-mib {} or less", max / MIB)),
        FormatError::Image { source, .. } => disk_remediation(source.kind()),
        FormatError::FileTooLarge { .. } => {
            Some("leave the file out of the image, or ask for a larger --block-size".to_owned())
        }
        FormatError::SymlinkTooLong { .. } | FormatError::DirectoryTooLarge { .. } => {
            Some("ask for a larger --block-size".to_owned())
        }
        FormatError::XattrsTooLarge { .. } => {
            Some("shorten the attribute or leave it out: ext4 holds values of at most 64 KiB".to_owned())
        }
        FormatError::NoNamespace { .. } => Some("leave the attribute out: Linux would not show it".to_owned()),
        FormatError::InvalidAcl { .. } => {
            Some("build the image again with the ACL as getxattr(2) shows it, or without".to_owned())
        }
        _ => None,
    }
}
