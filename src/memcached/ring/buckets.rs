//! The schemes that take a hash modulo the length of a list: libmemcached's `modula` and python-memcached's.
//! They differ in the hash, in how a server stands in the list, and in where a key goes when its server is down.

use super::Node;
use super::key_hash::{KeyHash, upper_crc32};

/// python-memcached tries so many other places for a key.
const OTHER_PLACES: u32 = 9;

#[derive(Clone, Debug)]
pub(super) struct Buckets {
    hash: Hash,
    /// Behind which place of the list each server ends.
    ends: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Hash {
    Libmemcached(KeyHash),
    PythonMemcached,
}

impl Buckets {
    /// Every server once.
    pub(super) fn modula(hash: KeyHash, servers: usize) -> Self {
        Buckets { hash: Hash::Libmemcached(hash), ends: ends_of(std::iter::repeat_n(1, servers)) }
    }

    /// Every server as often as it weighs.
    pub(super) fn crc32(nodes: &[Node]) -> Self {
        Buckets { hash: Hash::PythonMemcached, ends: ends_of(nodes.iter().map(|node| node.weight)) }
    }

    pub(super) fn server_of(&self, key: &[u8]) -> usize {
        self.at(self.hash_of(key))
    }

    pub(super) fn server_among(&self, key: &[u8], is_up: impl Fn(usize) -> bool) -> Option<usize> {
        let mut hash = self.hash_of(key);
        for attempt in 0..OTHER_PLACES {
            // As python-memcached looks for another place.
            hash = self.hash_of(format!("{hash}{attempt}").as_bytes());
            if is_up(self.at(hash)) {
                return Some(self.at(hash));
            }
        }
        (0..self.ends.len()).find(|server| is_up(*server))
    }

    fn at(&self, hash: u32) -> usize {
        let places = self.ends.last().copied().unwrap_or(1);
        let place = u64::from(hash) % places;
        self.ends.partition_point(|end| *end <= place)
    }

    fn hash_of(&self, bytes: &[u8]) -> u32 {
        match self.hash {
            Hash::Libmemcached(hash) => hash.of(bytes),
            Hash::PythonMemcached => upper_crc32(bytes),
        }
    }
}

fn ends_of(weights: impl Iterator<Item = u32>) -> Vec<u64> {
    let mut end = 0;
    weights
        .map(|weight| {
            end += u64::from(weight);
            end
        })
        .collect()
}
