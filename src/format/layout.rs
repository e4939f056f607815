//! How the bytes of a file are cut: S3 parts, extents. Pure arithmetic, shared by stage and ingest so that a part
//! is always one extent or a whole number of them.

/// Smallest part this program cuts. Unit: bytes.
pub const PART_BYTES_MIN: u64 = 8 << 20;
/// Largest part S3 takes. Unit: bytes. Source: Amazon S3 user guide, multipart upload limits (2026-10).
pub const PART_BYTES_MAX: u64 = 5 << 30;
/// Most parts in one upload. Source: Amazon S3 user guide, multipart upload limits (2026-10).
pub const PARTS_MAX: u64 = 10_000;
/// Largest extent. Unit: bytes.
pub const EXTENT_BYTES_MAX: u64 = 64 << 20;
/// Largest object S3 stores. Unit: bytes. Source: Amazon S3 user guide, object size limit of 50 TB (2026-10);
/// 10,000 parts of 5 GiB.
pub const OBJECT_BYTES_MAX: u64 = PARTS_MAX * PART_BYTES_MAX;

/// Part size for a file of that size: the smallest power of two, at least 8 MiB, that needs at most 10,000 parts,
/// and never more than 5 GiB. Unit: bytes.
pub fn part_bytes(file_bytes: u64) -> u64 {
    let mut part = PART_BYTES_MIN;
    while part < PART_BYTES_MAX && file_bytes.div_ceil(part) > PARTS_MAX {
        part *= 2;
    }
    part.min(PART_BYTES_MAX)
}

/// Extent size for a file of that size: its part size, at most 64 MiB. Both are multiples of 8 MiB, so no extent
/// crosses a part boundary. Unit: bytes.
pub fn extent_bytes(file_bytes: u64) -> u64 {
    part_bytes(file_bytes).min(EXTENT_BYTES_MAX)
}

const _: () =
    assert!(PART_BYTES_MAX.is_multiple_of(EXTENT_BYTES_MAX) && EXTENT_BYTES_MAX.is_multiple_of(PART_BYTES_MIN));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_sizes_get_the_expected_parts() {
        assert_eq!(part_bytes(0), 8 << 20);
        assert_eq!(part_bytes(80_000 << 20), 8 << 20);
        assert_eq!(part_bytes((80_000 << 20) + 1), 16 << 20);
        assert_eq!(part_bytes(50_000_000_000_000), 5 << 30);
    }

    proptest! {
        #[test]
        fn parts_stay_within_the_limits_and_are_whole_extents(bytes in 0_u64..=OBJECT_BYTES_MAX) {
            let part = part_bytes(bytes);
            prop_assert!(bytes.div_ceil(part) <= PARTS_MAX && part <= PART_BYTES_MAX);
            prop_assert!(part.is_multiple_of(extent_bytes(bytes)));
        }
    }
}
