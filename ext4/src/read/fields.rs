//! All fields of the superblock, and those of inodes that no system call shows, for whoever looks for differences.

use std::fmt::Write as _;
use zerocopy::{FromZeros, IntoBytes};

use super::{ReadError, Reader, facts};
use crate::disk::inode::{Inode, InodeFlags};
use crate::read_at::ReadAt;
use crate::tree::Timestamp;
use crate::units::Ino;

/// Fields of a structure by their kernel names without the prefix, and their values as text.
pub type Fields = Vec<(&'static str, String)>;

/// Bytes of an inode that every one has.
const CLASSIC_LEN: usize = 128;

/// Flags that say how an inode is stored, and not what it is.
const STORAGE: InodeFlags = InodeFlags::INDEX
    .union(InodeFlags::HUGE_FILE)
    .union(InodeFlags::EXTENTS)
    .union(InodeFlags::EA_INODE)
    .union(InodeFlags::INLINE_DATA);

impl<R: ReadAt> Reader<R> {
    /// All fields of the superblock, in its order; numbers that it keeps in two parts are one.
    #[must_use]
    pub fn superblock_fields(&self) -> Fields {
        let superblock = &self.superblock;
        let facts = self.facts();
        let features = [
            (
                "feature_compat",
                facts::compat_names(superblock.feature_compat.get()).collect(),
            ),
            (
                "feature_incompat",
                facts::incompat_names(superblock.feature_incompat.get()).collect(),
            ),
            (
                "feature_ro_compat",
                facts::ro_compat_names(superblock.feature_ro_compat.get()).collect(),
            ),
        ];
        let [size_high, size_low] = [15, 16].map(|index: usize| u64::from(superblock.jnl_blocks[index].get()));
        let journal_size = size_high << 32 | size_low;
        let mut fields = vec![
            ("blocks_count", facts.block_count.to_string()),
            ("r_blocks_count", facts.reserved_block_count.to_string()),
            ("free_blocks_count", facts.free_block_count.to_string()),
            ("uuid", uuid(&superblock.uuid)),
            ("volume_name", text(&superblock.volume_name)),
            ("last_mounted", text(&superblock.last_mounted)),
            ("journal_uuid", uuid(&superblock.journal_uuid)),
            ("hash_seed", uuid(&superblock.hash_seed)),
            ("jnl_blocks", hex(superblock.jnl_blocks[..15].as_bytes())),
            ("jnl_size", journal_size.to_string()),
            ("mount_opts", text(&superblock.mount_opts)),
            ("error_record", hex(&superblock.error_record)),
            ("backup_bgs", hex(superblock.backup_bgs.as_bytes())),
            ("encrypt_algos", hex(&superblock.encrypt_algos)),
            ("encrypt_pw_salt", hex(&superblock.encrypt_pw_salt)),
            ("time_hi", hex(&superblock.time_hi)),
            ("reserved", hex(superblock.reserved.as_bytes())),
        ];
        fields.extend(features.map(|(name, names): (_, Vec<String>)| (name, names.join(" "))));
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

    /// What an inode has besides what [`Reader::inode`] tells, and besides where things are: the time of its creation, its
    /// flags, generation, version and project.
    ///
    /// # Errors
    ///
    /// As [`Reader::inode`].
    pub fn inode_fields(&self, ino: Ino) -> Result<Fields, ReadError> {
        let offset = self.offset_of(ino)?;
        let mut inode = Inode::new_zeroed();
        let size = self.inode_size().min(size_of::<Inode>());
        self.read_at(offset, &mut inode.as_mut_bytes()[..size])?;
        // The fields behind the first 128 bytes are there as far as `i_extra_isize` says.
        let extra = if size > CLASSIC_LEN {
            usize::from(inode.extra_isize.get())
        } else {
            0
        };
        let there = |field: u32, end: usize| if CLASSIC_LEN + extra >= end { field } else { 0 };
        let created = there(inode.crtime.get(), 0x94).cast_signed();
        let created_extra = there(inode.crtime_extra.get(), 0x98);
        let epoch = i64::from(created_extra & 3) << 32;
        let created = Timestamp::saturating(i64::from(created) + epoch, created_extra >> 2);
        let version_hi = there(inode.version_hi.get(), 0x9C);
        let flags = InodeFlags::from_bits_retain(inode.flags.get()).difference(STORAGE);
        let version = u64::from(inode.version.get()) | u64::from(version_hi) << 32;
        Ok(vec![
            ("crtime", format!("{}.{:09}", created.seconds(), created.nanoseconds())),
            ("dtime", inode.dtime.to_string()),
            ("flags", format!("{:#x}", flags.bits())),
            ("generation", inode.generation.to_string()),
            ("version", version.to_string()),
            ("projid", there(inode.projid.get(), 0xA0).to_string()),
        ])
    }
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = hex(bytes);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

/// Text up to its first NUL; what is no UTF-8, follows the NUL, or is a control character, makes it hexadecimal.
fn text(bytes: &[u8]) -> String {
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    match str::from_utf8(&bytes[..len]) {
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
