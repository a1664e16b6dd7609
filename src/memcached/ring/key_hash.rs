//! The hashes of keys that libmemcached offers, bit for bit, with its signed characters.
//! The modula and ketama schemes hash keys, and some of them the points of servers, by one of these.

use std::fmt;
use std::str::FromStr;

use md5::{Digest, Md5};

use super::super::Error;

/// What the schemes of libmemcached hash a key by: pylibmc's behaviour `hash`, under the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyHash {
    /// `default`: Bob Jenkins' one-at-a-time.
    OneAtATime,
    /// `md5`: the first four bytes of the digest, little-endian.
    Md5,
    /// `crc`: 15 bits of CRC-32.
    Crc,
    /// `fnv1_64`: the low half of 64-bit FNV-1.
    Fnv1_64,
    /// `fnv1a_64`: the low half of 64-bit FNV-1a.
    Fnv1a64,
    /// `fnv1_32`: 32-bit FNV-1.
    Fnv1_32,
    /// `fnv1a_32`: 32-bit FNV-1a.
    Fnv1a32,
    /// `murmur`: MurmurHash2, seeded by the length of the key.
    Murmur,
    /// `jenkins`: Bob Jenkins' lookup3.
    Jenkins,
}

impl KeyHash {
    /// Every hash.
    pub const ALL: [KeyHash; 9] = [
        KeyHash::OneAtATime,
        KeyHash::Md5,
        KeyHash::Crc,
        KeyHash::Fnv1_64,
        KeyHash::Fnv1a64,
        KeyHash::Fnv1_32,
        KeyHash::Fnv1a32,
        KeyHash::Murmur,
        KeyHash::Jenkins,
    ];

    /// Its name in a cache URL and in pylibmc's behaviours.
    pub fn name(self) -> &'static str {
        match self {
            KeyHash::OneAtATime => "default",
            KeyHash::Md5 => "md5",
            KeyHash::Crc => "crc",
            KeyHash::Fnv1_64 => "fnv1_64",
            KeyHash::Fnv1a64 => "fnv1a_64",
            KeyHash::Fnv1_32 => "fnv1_32",
            KeyHash::Fnv1a32 => "fnv1a_32",
            KeyHash::Murmur => "murmur",
            KeyHash::Jenkins => "jenkins",
        }
    }

    pub(super) fn of(self, bytes: &[u8]) -> u32 {
        match self {
            KeyHash::OneAtATime => one_at_a_time(bytes),
            KeyHash::Md5 => md5_words(bytes)[0],
            KeyHash::Crc => upper_crc32(bytes),
            KeyHash::Fnv1_64 => low_half(
                bytes.iter().fold(FNV_64.start, |hash, byte| hash.wrapping_mul(FNV_64.prime) ^ signed(*byte) as u64),
            ),
            KeyHash::Fnv1a64 => low_half(
                bytes.iter().fold(FNV_64.start, |hash, byte| (hash ^ signed(*byte) as u64).wrapping_mul(FNV_64.prime)),
            ),
            KeyHash::Fnv1_32 => {
                bytes.iter().fold(FNV_32.start, |hash, byte| hash.wrapping_mul(FNV_32.prime) ^ signed(*byte) as u32)
            }
            KeyHash::Fnv1a32 => {
                bytes.iter().fold(FNV_32.start, |hash, byte| (hash ^ signed(*byte) as u32).wrapping_mul(FNV_32.prime))
            }
            KeyHash::Murmur => murmur2(bytes),
            KeyHash::Jenkins => lookup3(bytes),
        }
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyHash {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = KeyHash::ALL.into_iter().find(|hash| hash.name() == name);
        found.ok_or_else(|| {
            let known = KeyHash::ALL.map(KeyHash::name).join(", ");
            Error::Config(format!("unknown key hash {name:?} of a memcached fleet: known are {known}"))
        })
    }
}

struct Fnv<Word> {
    start: Word,
    prime: Word,
}

const FNV_32: Fnv<u32> = Fnv { start: 0x811c_9dc5, prime: 0x0100_0193 };
const FNV_64: Fnv<u64> = Fnv { start: 0xcbf2_9ce4_8422_2325, prime: 0x0000_0100_0000_01b3 };

/// libmemcached reads keys as C's `char`, which is signed on x86: a byte above 127 fills the upper bits with ones.
fn signed(byte: u8) -> i64 {
    i64::from(byte.cast_signed())
}

fn low_half(hash: u64) -> u32 {
    (hash & u64::from(u32::MAX)) as u32
}

fn one_at_a_time(bytes: &[u8]) -> u32 {
    let mut hash = bytes.iter().fold(0_u32, |hash, byte| {
        let hash = hash.wrapping_add(signed(*byte) as u32);
        let hash = hash.wrapping_add(hash << 10);
        hash ^ (hash >> 6)
    });
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// The four words of an MD5 digest.
pub(super) fn md5_words(bytes: &[u8]) -> [u32; 4] {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    std::array::from_fn(|word| u32::from_le_bytes(std::array::from_fn(|byte| digest[word * 4 + byte])))
}

/// Bits 16 to 30 of CRC-32.
pub(super) fn upper_crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) >> 16 & 0x7fff
}

fn murmur2(bytes: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let length = bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    let mut hash = words.iter().fold(0xdead_beef_u32.wrapping_mul(length) ^ length, |hash, word| {
        let word = u32::from_le_bytes(*word).wrapping_mul(MIX);
        hash.wrapping_mul(MIX) ^ (word ^ word >> 24).wrapping_mul(MIX)
    });
    if !rest.is_empty() {
        hash = (hash ^ padded_word(rest)).wrapping_mul(MIX);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MIX);
    hash ^ hash >> 15
}

/// Up to four bytes as a little-endian word, zeros behind them.
fn padded_word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn lookup3(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32).wrapping_add(13);
    let mut state = [start; 3];
    if bytes.is_empty() {
        return start;
    }
    let last = (bytes.len() - 1) / 12;
    for (block, part) in bytes.chunks(12).enumerate() {
        for (word, four) in state.iter_mut().zip(part.chunks(4)) {
            *word = word.wrapping_add(padded_word(four));
        }
        state = if block == last { lookup3_last(state) } else { lookup3_mix(state) };
    }
    state[2]
}

fn lookup3_mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    for [first, second, third] in [[4, 6, 8], [16, 19, 4]] {
        a = a.wrapping_sub(c) ^ c.rotate_left(first);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(second);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(third);
        b = b.wrapping_add(a);
    }
    [a, b, c]
}

fn lookup3_last([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libmemcached 1.0.16 and 1.1.4 answered, `memcached_generate_hash_value`.
    #[test]
    fn every_hash_is_libmemcacheds() {
        let known = [
            (KeyHash::OneAtATime, 3_372_029_979, 3_650_908_318),
            (KeyHash::Md5, 708_854_109, 3_833_532_679),
            (KeyHash::Crc, 13_840, 6_317),
            (KeyHash::Fnv1_64, 3_183_334_599, 2_315_714_289),
            (KeyHash::Fnv1a64, 2_158_673_163, 3_472_276_361),
            (KeyHash::Fnv1_32, 3_069_866_343, 3_598_905_713),
            (KeyHash::Fnv1a32, 1_335_831_723, 1_970_454_601),
            (KeyHash::Murmur, 1_377_504_255, 3_658_586_143),
            (KeyHash::Jenkins, 772_589_811, 3_412_207_021),
        ];
        for (hash, hello, cafe) in known {
            assert_eq!(hash.of(b"hello"), hello, "{hash} of hello");
            assert_eq!(hash.of("café".as_bytes()), cafe, "{hash} of café");
            assert_eq!(hash.name().parse::<KeyHash>().ok(), Some(hash));
        }
        // Both versions keep the zero that some keys come to.
        assert_eq!([&b"bcE35W"[..], b"cB78NL", b"eG_EEB"].map(|key| KeyHash::OneAtATime.of(key)), [0; 3]);
    }
}
