//! How mke2fs is asked for a file system.

use ext4::read::SuperblockInfo;
use ext4::{Journal, Options};
use uuid::Uuid;

use super::error::Mke2fsError;
use super::program::Workshop;
use super::{IMAGE, TREE};

/// Features of all images; `has_journal` and those that depend on content or options are added to them.
const FEATURES: &str = "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,\
    dir_nlink,extra_isize,metadata_csum";

/// In place of the machine's own `mke2fs.conf`.
const CONFIGURATION: &[u8] = b"[defaults]
\tdefault_mntopts = acl,user_xattr
\tenable_periodic_fsck = 0
[fs_types]
\text4 = {
\t}
\tfloppy = {
\t}
\tsmall = {
\t}
\tdefault = {
\t}
\tbig = {
\t}
\thuge = {
\t}
";

/// Makes a file system in the image, of the files in [`TREE`].
pub(super) fn format(workshop: &Workshop<'_>, options: &Options, facts: &SuperblockInfo) -> Result<(), Mke2fsError> {
    const CONFIGURATION_FILE: &str = "mke2fs.conf";
    workshop.write(CONFIGURATION_FILE, CONFIGURATION)?;
    let has = |feature: &str| facts.features.iter().any(|found| found == feature);
    let mut features = FEATURES.to_owned();
    for feature in ["has_journal", "large_dir", "ea_inode"] {
        if has(feature) {
            features = format!("{features},{feature}");
        }
    }
    let mut command = workshop.command(&workshop.programs.mke2fs);
    command.env("MKE2FS_CONFIG", CONFIGURATION_FILE);
    // Twice, since it isn't asked whether blocks are larger than this machine's pages.
    command.args(["-q", "-F", "-F", "-t", "ext4", "-I", "256", "-O", &features]);
    command.args([
        "-b",
        &facts.block_size.to_string(),
        "-N",
        &facts.inode_count.to_string(),
    ]);
    command.args(["-m", &options.reserved_percent.to_string()]);
    command.args(["-U", &Uuid::from_bytes(options.uuid).to_string()]);
    let seed = Uuid::from_bytes(options.hash_seed);
    let extended = format!("hash_seed={seed},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1,nodiscard");
    command.args(["-E", &extended]);
    if let (Journal::Bytes(bytes), true) = (options.journal, has("has_journal")) {
        command.args(["-J", &format!("size={}", bytes.div_ceil(1 << 20))]);
    }
    if !facts.label.is_empty() {
        command.arg("-L").arg(label(&facts.label));
    }
    command.args(["-d", TREE, IMAGE, &facts.block_count.to_string()]);
    workshop.succeed(&mut command, false).map(|_| ())
}

/// A label was text when it was asked for.
fn label(label: &[u8]) -> String {
    String::from_utf8_lossy(label).into_owned()
}
