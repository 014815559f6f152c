//! A hash that stays the same for ever: a message with the same key goes to the same queue after a
//! restart and with the next version.
//!
//! FNV-1a of the bytes, spread over all bits by the finalizer of SplitMix64.

/// Parameters of FNV-1a.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Step of SplitMix64: the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug, Clone, Copy)]
pub(super) struct StableHash(u64);

impl StableHash {
    pub(super) fn new() -> Self {
        Self(FNV_OFFSET)
    }

    pub(super) fn with(self, bytes: &[u8]) -> Self {
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        Self(bytes.iter().fold(self.0, add))
    }

    /// The `number`th of the values that follow from the bytes, each over all 64 bits.
    pub(super) fn value(self, number: u64) -> u64 {
        let mut mixed = self.0.wrapping_add(number.wrapping_add(1).wrapping_mul(STEP));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another value here would send every key to another queue.
    #[test]
    fn the_values_are_those_they_have_always_been() {
        assert_eq!(StableHash::new().0, 0xcbf2_9ce4_8422_2325);
        assert_eq!(StableHash::new().with(b"a").0, 0xaf63_dc4c_8601_ec8c);
        assert_eq!(StableHash::new().with(b"foo").with(b"bar").0, 0x8594_4171_f739_67e8);
        assert_eq!(StableHash(0).value(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(StableHash(0).value(1), 0x6e78_9e6a_a1b9_65f4);
    }
}
