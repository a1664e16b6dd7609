//! What stands in the file of an entry: its lifetime, flags, key and data, with checksums. Pure bytes, no I/O.
//! The store writes and reads it; anything it does not understand is nothing.

use bytes::{BufMut, Bytes, BytesMut};

use crate::backend::Stored;
use crate::clock::Timestamp;

/// What a file of ours begins with; the last byte is the version of the form.
const MAGIC: [u8; 8] = *b"larder\0\x01";

/// How many bytes stand before the key: magic, checksum of the head, checksum of the data, expiry, flags, and the lengths
/// of key and data.
pub(super) const HEAD: usize = 8 + 4 + 4 + 8 + 4 + 4 + 8;

/// The head of an entry. Its checksum covers itself and the key, so that the data need not be read to trust it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    checksum: u32,
    data_checksum: u32,
    pub(super) expires_at: Timestamp,
    flags: u32,
    key_length: u32,
    data_length: u64,
}

impl Head {
    /// Reads a head from the beginning of a file that is `file_length` long in all. It may still be forged:
    /// [`Head::is_of`] tells.
    pub(super) fn read(bytes: &[u8], file_length: u64) -> Option<Self> {
        let mut bytes = bytes.strip_prefix(&MAGIC)?;
        let head = Head {
            checksum: u32::from_le_bytes(take(&mut bytes)?),
            data_checksum: u32::from_le_bytes(take(&mut bytes)?),
            expires_at: Timestamp::from_nanos(u64::from_le_bytes(take(&mut bytes)?)),
            flags: u32::from_le_bytes(take(&mut bytes)?),
            key_length: u32::from_le_bytes(take(&mut bytes)?),
            data_length: u64::from_le_bytes(take(&mut bytes)?),
        };
        let length = (HEAD as u64).checked_add(head.key_length.into())?.checked_add(head.data_length)?;
        (length == file_length).then_some(head)
    }

    /// How many bytes the key has.
    pub(super) fn key_length(&self) -> usize {
        self.key_length as usize
    }

    /// Whether head and key are as they were written.
    pub(super) fn is_of(&self, key: &[u8]) -> bool {
        self.key_length() == key.len() && self.checksum == self.sum(key)
    }

    /// Alive until, and not at, its last moment, as everywhere.
    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    fn sum(&self, key: &[u8]) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.data_checksum.to_le_bytes());
        sum.update(&self.expires_at.as_nanos().to_le_bytes());
        sum.update(&self.flags.to_le_bytes());
        sum.update(&self.key_length.to_le_bytes());
        sum.update(&self.data_length.to_le_bytes());
        sum.update(key);
        sum.finalize()
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// The content of an entry's file, all but the data: that is written after it as it is.
pub(super) fn write_head(key: &str, value: &Stored, expires_at: Timestamp) -> Option<Bytes> {
    let mut head = Head {
        checksum: 0,
        data_checksum: crc32fast::hash(&value.data),
        expires_at,
        flags: value.flags,
        key_length: u32::try_from(key.len()).ok()?,
        data_length: value.data.len() as u64,
    };
    head.checksum = head.sum(key.as_bytes());
    let mut bytes = BytesMut::with_capacity(HEAD + key.len());
    bytes.put_slice(&MAGIC);
    bytes.put_u32_le(head.checksum);
    bytes.put_u32_le(head.data_checksum);
    bytes.put_u64_le(head.expires_at.as_nanos());
    bytes.put_u32_le(head.flags);
    bytes.put_u32_le(head.key_length);
    bytes.put_u64_le(head.data_length);
    bytes.put_slice(key.as_bytes());
    Some(bytes.freeze())
}

/// The entry in a whole file, if it is an entry, whole, and of this very key. The data is not copied.
pub(super) fn read(file: &Bytes, key: &str) -> Option<(Head, Stored)> {
    let head = Head::read(file, file.len() as u64)?;
    let written_key = file.get(HEAD..HEAD.checked_add(head.key_length())?)?;
    if written_key != key.as_bytes() || !head.is_of(written_key) {
        return None;
    }
    let data = file.slice(HEAD + written_key.len()..);
    (crc32fast::hash(&data) == head.data_checksum).then_some((head, Stored { data, flags: head.flags }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(key: &str, value: &Stored, expires_at: Timestamp) -> Bytes {
        let mut file = BytesMut::from(&write_head(key, value, expires_at).unwrap()[..]);
        file.put_slice(&value.data);
        file.freeze()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(key: String, data: Vec<u8>, flags: u32, nanos: u64) {
            let (value, expires_at) = (Stored { data: data.into(), flags }, Timestamp::from_nanos(nanos));
            let (head, read) = read(&written(&key, &value, expires_at), &key).unwrap();
            prop_assert_eq!((head.expires_at, read), (expires_at, value));
        }

        #[test]
        fn of_another_key_it_is_nothing(key: String, other: String, data: Vec<u8>) {
            prop_assume!(key != other);
            let file = written(&key, &Stored { data: data.into(), flags: 0 }, Timestamp::NEVER);
            prop_assert!(read(&file, &other).is_none());
        }

        #[test]
        fn a_changed_or_cut_file_is_nothing(data: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let file = written("key", &Stored { data: data.into(), flags: 7 }, Timestamp::from_secs(5));
            let at = at.index(file.len());
            let mut changed = file.to_vec();
            changed[at] ^= 1 << bit;
            prop_assert!(read(&changed.into(), "key").is_none());
            prop_assert!(read(&file.slice(..at), "key").is_none());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes: Vec<u8>, is_marked: bool) {
            if is_marked {
                bytes.splice(..0, MAGIC);
            }
            prop_assert!(read(&bytes.into(), "key").is_none());
        }
    }
}
