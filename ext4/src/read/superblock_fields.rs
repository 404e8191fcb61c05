//! Fields of the superblock as text, for comparing images within this workspace. Not part of the
//! stable interface: names, order and forms change without notice.

use std::fmt::Write as _;

use zerocopy::IntoBytes;

use super::Reader;
use crate::disk::block_map::ROOT_NUMBERS;
use crate::disk::features::Features;
use crate::units::join;

/// Fields by their kernel names without the prefix, with their values as text.
pub type SuperblockFields = Vec<(&'static str, String)>;

/// Returns all fields of the superblock. A number that is split into two fields is one.
#[must_use]
pub fn superblock_fields<R>(reader: &Reader<R>) -> SuperblockFields {
    let superblock = &reader.superblock;
    let features = [
        ("feature_compat", Features::ALL_COMPAT),
        ("feature_incompat", Features::ALL_INCOMPAT),
        ("feature_ro_compat", Features::ALL_RO_COMPAT),
    ];
    let features = features.map(|(name, word)| {
        let names: Vec<_> = (superblock.features() & word).names().collect();
        (name, names.join(" "))
    });
    let (map, size) = superblock.jnl_blocks.split_at(ROOT_NUMBERS);
    let journal_size = join(size[1].get(), size[0].get());
    let mut fields = vec![
        ("blocks_count", superblock.block_count().to_string()),
        ("r_blocks_count", superblock.reserved_blocks().to_string()),
        ("free_blocks_count", superblock.free_blocks().to_string()),
        ("uuid", uuid(&superblock.uuid)),
        ("volume_name", text(&superblock.volume_name)),
        ("last_mounted", text(&superblock.last_mounted)),
        ("journal_uuid", uuid(&superblock.journal_uuid)),
        ("hash_seed", uuid(&superblock.hash_seed)),
        ("jnl_blocks", hex(map.as_bytes())),
        ("jnl_size", journal_size.to_string()),
        ("mount_opts", text(&superblock.mount_opts)),
        ("error_record", hex(&superblock.error_record)),
        ("backup_bgs", hex(superblock.backup_bgs.as_bytes())),
        ("encrypt_algos", hex(&superblock.encrypt_algos)),
        ("encrypt_pw_salt", hex(&superblock.encrypt_pw_salt)),
        ("time_hi", hex(&superblock.time_hi)),
        ("reserved", hex(superblock.reserved.as_bytes())),
    ];
    fields.extend(features);
    macro_rules! numbers {
            ($($field:ident)*) => { fields.extend([$((stringify!($field), superblock.$field.to_string())),*]) };
        }
    numbers!(
        inodes_count free_inodes_count first_data_block log_block_size log_cluster_size blocks_per_group
        clusters_per_group inodes_per_group mtime wtime mnt_count max_mnt_count magic state errors minor_rev_level
        lastcheck checkinterval creator_os rev_level def_resuid def_resgid first_ino inode_size block_group_nr
        algorithm_usage_bitmap prealloc_blocks prealloc_dir_blocks reserved_gdt_blocks journal_inum journal_dev
        last_orphan def_hash_version jnl_backup_type desc_size default_mount_opts first_meta_bg mkfs_time
        min_extra_isize want_extra_isize flags raid_stride mmp_interval mmp_block raid_stripe_width
        log_groups_per_flex checksum_type encryption_level reserved_pad kbytes_written snapshot_inum snapshot_id
        snapshot_r_blocks_count snapshot_list usr_quota_inum grp_quota_inum overhead_clusters lpf_ino
        prj_quota_inum checksum_seed encoding encoding_flags orphan_file_inum checksum
    );
    fields
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = hex(bytes);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

/// Returns text up to its first NUL, or all bytes in hexadecimal if they contain invalid UTF-8, a
/// control character, or other bytes after the NUL.
fn text(bytes: &[u8]) -> String {
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    match std::str::from_utf8(&bytes[..len]) {
        Ok(text) if bytes[len..].iter().all(|&byte| byte == 0) && !text.contains(char::is_control) => text.to_owned(),
        _ => hex(bytes),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory takes it");
        text
    })
}
