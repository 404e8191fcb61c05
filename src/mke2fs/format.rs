//! Runs mke2fs: its features, configuration and arguments.

use ext4::read::SuperblockInfo;
use ext4::{Journal, Options};
use uuid::Uuid;

use super::error::Mke2fsError;
use super::tools::Tools;
use super::{IMAGE_NAME, TREE_NAME};

/// Features of every image. `has_journal`, and features that depend on content, are added to them.
const FEATURES: &str = "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,\
    dir_nlink,extra_isize,metadata_csum";

/// Replaces the `mke2fs.conf` of the machine.
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

/// Runs mke2fs, which makes a file system of the files in [`TREE_NAME`] in the image.
///
/// `superblock` is that of the native image, and determines size and features.
pub(super) fn format(tools: &Tools<'_>, options: &Options, superblock: &SuperblockInfo) -> Result<(), Mke2fsError> {
    const CONFIGURATION_FILE: &str = "mke2fs.conf";
    tools.write(CONFIGURATION_FILE, CONFIGURATION)?;
    let has = |feature: &str| superblock.features.iter().any(|found| found == feature);
    let mut features = FEATURES.to_owned();
    for feature in ["has_journal", "large_dir", "ea_inode"] {
        if has(feature) {
            features = format!("{features},{feature}");
        }
    }
    let mut command = tools.command(&tools.programs.mke2fs);
    command.env("MKE2FS_CONFIG", CONFIGURATION_FILE);
    // `-F` twice: with one, mke2fs asks before it makes blocks larger than the machine's pages.
    command.args(["-q", "-F", "-F", "-t", "ext4", "-I", "256", "-O", &features]);
    command.args([
        "-b",
        &superblock.block_size.to_string(),
        "-N",
        &superblock.inode_count.to_string(),
    ]);
    command.args(["-m", &options.reserved_percent.to_string()]);
    command.args(["-U", &Uuid::from_bytes(options.uuid).to_string()]);
    let seed = Uuid::from_bytes(options.hash_seed);
    let extended = format!("hash_seed={seed},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1,nodiscard");
    command.args(["-E", &extended]);
    if let (Journal::Bytes(bytes), true) = (options.journal, has("has_journal")) {
        command.args(["-J", &format!("size={}", bytes.div_ceil(1 << 20))]);
    }
    if !superblock.label.is_empty() {
        command.arg("-L").arg(label(&superblock.label));
    }
    command.args(["-d", TREE_NAME, IMAGE_NAME, &superblock.block_count.to_string()]);
    tools.run(&mut command, false).map(|_| ())
}

/// Returns a label as text, which it was in the options.
fn label(label: &[u8]) -> String {
    String::from_utf8_lossy(label).into_owned()
}
