//! The short hash of a key: SipHash-1-3 with the database's own salt, so that nobody outside can choose keys that
//! collide. Not the standard library's, which may change: the hashes are on disk.

/// So many bits of a hash are used; the checker's number is above them.
pub(super) const HASH_BITS: u32 = 44;

/// What a database's hashes depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Salt {
    pub(super) a: u64,
    pub(super) b: u64,
    /// The bits that are kept; tests keep few, so that keys collide.
    pub(super) mask: u64,
}

impl Salt {
    pub(super) fn new(a: i64, b: i64) -> Salt {
        Salt { a: a.cast_unsigned(), b: b.cast_unsigned(), mask: (1 << HASH_BITS) - 1 }
    }

    /// The hash of a key, below 2^[`HASH_BITS`].
    pub(super) fn hash(self, key: &[u8]) -> i64 {
        (sip13(self.a, self.b, key) & self.mask).cast_signed()
    }
}

/// SipHash with one round a word and three at the end.
fn sip13(a: u64, b: u64, bytes: &[u8]) -> u64 {
    let mut v =
        [a ^ 0x736f_6d65_7073_6575, b ^ 0x646f_7261_6e64_6f6d, a ^ 0x6c79_6765_6e65_7261, b ^ 0x7465_6462_7974_6573];
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // The last word is what is left and, on top, the length.
    last[7] = bytes.len().to_le_bytes()[0];
    for word in words.iter().chain([&last]) {
        let word = u64::from_le_bytes(*word);
        v[3] ^= word;
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn it_is_siphash_1_3() {
        let key = "a key of more than two words, ö";
        for n in (0..=key.len()).filter(|n| key.is_char_boundary(*n)) {
            // What the standard library has today, with its salt of zeros.
            let mut hasher = DefaultHasher::new();
            hasher.write(&key.as_bytes()[..n]);
            assert_eq!(sip13(0, 0, &key.as_bytes()[..n]), hasher.finish(), "{n} bytes");
        }
        assert_ne!(sip13(1, 0, b"x"), sip13(0, 0, b"x"));
        assert_ne!(sip13(0, 1, b"x"), sip13(0, 0, b"x"));
    }
}
