//! A small, fixed 64-bit hash. Scores must not depend on the process, so the standard library's seeded hasher is no use here, and
//! equality of hashes stands for equality of tokens, n-grams and subtrees: with the 10^4 distinct items of a large program the
//! chance of a collision is about 10^-12.

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xbf58_476d_1ce4_e5b9;
const K2: u64 = 0x94d0_49bb_1331_11eb;

/// Finalises a word (the SplitMix64 finaliser: every input bit reaches every output bit).
pub(super) fn scramble(word: u64) -> u64 {
    let mut z = word.wrapping_add(K0);
    z = (z ^ (z >> 30)).wrapping_mul(K1);
    z = (z ^ (z >> 27)).wrapping_mul(K2);
    z ^ (z >> 31)
}

/// Appends a word to an ordered sequence's hash.
pub(super) fn mix(hash: u64, word: u64) -> u64 {
    scramble(hash.rotate_left(23).wrapping_mul(K1) ^ word)
}

/// Hashes text.
pub(super) fn text(text: &str) -> u64 {
    let mut hash = text.len() as u64;
    let mut chunks = text.as_bytes().chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0u8; 8];
        word.copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    let mut word = [0u8; 8];
    let rest = chunks.remainder();
    word[..rest.len()].copy_from_slice(rest);
    mix(hash, u64::from_le_bytes(word))
}

/// Takes a hash for its own hash, in maps whose keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct IdentityHasher(u64);

impl std::hash::Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0, u64::from(*byte));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_length_matter() {
        assert_ne!(mix(mix(0, 1), 2), mix(mix(0, 2), 1));
        assert_ne!(text(""), text("\0"));
        assert_ne!(text("abcdefgh"), text("abcdefgh\0"));
    }
}
