//! The smallest size that does.

use super::DoesNotFit;

/// One MiB in bytes.
pub(crate) const MIB: u64 = 1 << 20;

/// The smallest size in whole MiB, from `min` bytes on and not above `max`, that `fits`.
///
/// A misfit tells how many blocks are missing at the least, so that no size that would do is passed over.
pub(crate) fn smallest_fitting(
    min: u64,
    max: u64,
    block_size: u64,
    fits: impl Fn(u64) -> Result<(), DoesNotFit>,
) -> Option<u64> {
    let mut size = min.div_ceil(MIB).max(1).saturating_mul(MIB);
    while size <= max {
        match fits(size) {
            Ok(()) => return Some(size),
            Err(does_not_fit) => {
                let missing = does_not_fit
                    .missing_blocks
                    .saturating_mul(block_size)
                    .div_ceil(MIB)
                    .max(1);
                size = size.saturating_add(missing.saturating_mul(MIB));
            }
        }
    }
    None
}
