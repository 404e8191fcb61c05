//! Search for the smallest size that fits the content.

use super::DoesNotFit;

/// One MiB in bytes.
pub(crate) const MIB: u64 = 1 << 20;

/// Returns the smallest size in whole MiB, at least `min` and at most `max` bytes, for which
/// `fits` succeeds.
///
/// Sizes are skipped by the number of blocks that [`DoesNotFit`] reports as missing. That number
/// is a lower bound, so no size that fits is skipped.
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
