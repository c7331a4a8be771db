//! Versions of a node's members: each change increases it by 1. It may wrap, as it begins anywhere.

/// The version after so many changes.
pub(super) const fn after(version: u64, changes: u64) -> u64 {
    version.wrapping_add(changes)
}

/// Whether `version` came before `other`: it is less than 2^63 changes older.
pub(super) const fn is_before(version: u64, other: u64) -> bool {
    version != other && other.wrapping_sub(version) < 1 << 63
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_wrap() {
        assert!(is_before(u64::MAX, 0) && !is_before(0, u64::MAX));
        assert!(is_before(7, 8) && !is_before(8, 7) && !is_before(8, 8));
        assert!(is_before(7, 7 + (1 << 63) - 1) && !is_before(7, 7 + (1 << 63)));
        assert_eq!(after(u64::MAX, 2), 1);
    }
}
