//! Values that pylibmc, python-memcached or pymemcache's serde stored compressed by zlib, and how to store such values.
//! The client reads every value through it, and writes through it where that was asked for.

use std::io::Read;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::read::ZlibEncoder;
use flate2::{Decompress, FlushDecompress, Status};

use super::Error;
use super::key;
use super::value::Value;

/// The flag that Python's clients put beside what they compressed. It is added to the flag that says what it is.
pub(crate) const COMPRESSED: u32 = 8;

/// How large a compressed value may become, in bytes (64 MiB), unless said otherwise.
pub(crate) const LARGEST_INFLATED: usize = 64 * 1024 * 1024;

/// What is compressed, and what is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compression {
    /// Values of at least so many bytes are compressed; nothing: none are.
    pub(crate) from: Option<usize>,
    /// The largest value that a compressed one may become, in bytes.
    pub(crate) largest: usize,
    /// Compressed values are handed out as they are stored.
    pub(crate) is_left: bool,
}

impl Default for Compression {
    fn default() -> Self {
        Compression { from: None, largest: LARGEST_INFLATED, is_left: false }
    }
}

impl Compression {
    /// What to store for a value: itself, or its compressed form where that is smaller.
    pub(crate) fn deflate(&self, data: Bytes, flags: u32) -> (Bytes, u32) {
        // What says it is compressed already was compressed by the caller.
        let is_wanted = self.from.is_some_and(|from| data.len() >= from) && flags & COMPRESSED == 0;
        if !is_wanted {
            return (data, flags);
        }
        let mut deflated = Vec::with_capacity(data.len() / 2);
        let done = ZlibEncoder::new(&data[..], Level::default()).read_to_end(&mut deflated);
        match done {
            Ok(size) if size < data.len() => (Bytes::from(deflated), flags | COMPRESSED),
            _ => (data, flags),
        }
    }

    /// The value as it was before it was compressed, if it was.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for what is no zlib, is cut short, has something behind it, or is larger than allowed.
    pub(crate) fn inflate(&self, key: &[u8], value: Value) -> Result<Value, Error> {
        if self.is_left || value.flags & COMPRESSED == 0 {
            return Ok(value);
        }
        match inflated(&value.data, self.largest) {
            Ok(data) => Ok(Value { data: data.into(), flags: value.flags & !COMPRESSED, cas: value.cas }),
            Err(what) => Err(Error::Unreadable { key: key::shown(key), what }),
        }
    }
}

fn inflated(data: &[u8], largest: usize) -> Result<Vec<u8>, String> {
    let mut zlib = Decompress::new(true);
    // Grows by what is really there, so that a header that lies costs nothing.
    let mut out = Vec::with_capacity(data.len().saturating_mul(3).clamp(64, largest.max(64)));
    loop {
        let rest = data.get(zlib.total_in() as usize..).unwrap_or_default();
        let before = (zlib.total_in(), zlib.total_out());
        let status = zlib.decompress_vec(rest, &mut out, FlushDecompress::None);
        let status = status.map_err(|_| "its flags say it is compressed, and it is no zlib".to_owned())?;
        if out.len() > largest {
            return Err(format!("it is compressed, and becomes larger than {largest} bytes"));
        }
        match status {
            Status::StreamEnd if (zlib.total_in() as usize) < data.len() => {
                return Err("it is compressed, and something stands behind its end".to_owned());
            }
            Status::StreamEnd => return Ok(out),
            _ if out.len() == out.capacity() => out.reserve(out.len().min(largest - out.len() + 1).max(64)),
            _ if before == (zlib.total_in(), zlib.total_out()) => {
                return Err("it is compressed, and its end is missing".to_owned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ON: Compression = Compression { from: Some(100), largest: 10_000, is_left: false };

    fn value(data: impl Into<Bytes>, flags: u32) -> Value {
        Value { data: data.into(), flags, cas: Some(7) }
    }

    fn unreadable(data: impl Into<Bytes>) -> String {
        ON.inflate(b"page", value(data, COMPRESSED)).unwrap_err().to_string()
    }

    /// What pylibmc 1.6.3 stored for "larder " * 40 with min_compress_len=1: flags 24, text and compressed.
    const OF_PYLIBMC: &str = "789ccb492c4a492d52c819a5502900418f6811";

    #[test]
    fn what_pylibmc_compressed_is_read_and_keeps_its_other_flags() {
        let stored = hex::decode(OF_PYLIBMC).unwrap();
        let read = ON.inflate(b"k", value(stored, 24)).unwrap();
        assert_eq!(read, value("larder ".repeat(40), 16));
    }

    #[test]
    fn only_values_from_the_threshold_on_that_become_smaller_are_compressed() {
        let text = Bytes::from("a page ".repeat(100));
        let (data, flags) = ON.deflate(text.clone(), 16);
        assert!(data.len() < 50 && flags == 24);
        assert_eq!(ON.inflate(b"k", value(data, flags)).unwrap(), value(text.clone(), 16));
        assert_eq!(Compression::default().deflate(text.clone(), 16), (text, 16));
        let short = Bytes::from_static(&[b'x'; 99]);
        assert_eq!(ON.deflate(short.clone(), 0), (short, 0));
        let noise: Bytes = (0..200_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(ON.deflate(noise.clone(), 0), (noise, 0));
    }

    #[test]
    fn a_bomb_is_an_error_that_names_the_key() {
        let bomb = Compression { from: Some(0), ..ON }.deflate(Bytes::from(vec![0; 5_000_000]), 0).0;
        assert!(bomb.len() < 6_000);
        assert!(unreadable(bomb).contains("\"page\" cannot be read: it is compressed, and becomes larger than 10000"));
    }

    #[test]
    fn compressed_values_can_be_left_as_they_are() {
        let stored = value("no zlib at all", u32::MAX);
        assert_eq!(Compression { is_left: true, ..ON }.inflate(b"k", stored.clone()).unwrap(), stored);
    }

    #[test]
    fn what_is_no_zlib_cut_short_or_followed_by_something_is_an_error() {
        assert!(unreadable("plain").contains("no zlib"));
        assert!(unreadable("").contains("end is missing"));
        let (data, _) = ON.deflate(Bytes::from("a page ".repeat(100)), 0);
        assert!(unreadable(data.slice(..data.len() - 1)).contains("end is missing"));
        assert!(unreadable([&data[..], b"x"].concat()).contains("behind its end"));
    }

    proptest! {
        #[test]
        fn every_value_comes_back(data in prop::collection::vec(0_u8..4, 0..5000), flags in any::<u32>()) {
            let flags = flags & !COMPRESSED;
            let data = Bytes::from(data);
            let (stored, stored_flags) = ON.deflate(data.clone(), flags);
            prop_assert_eq!(ON.inflate(b"k", value(stored, stored_flags)).unwrap(), value(data, flags));
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(data in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(read) = ON.inflate(b"k", value([&[0x78, 0x9c][..], &data].concat(), COMPRESSED)) {
                prop_assert!(read.data.len() <= ON.largest);
            }
        }
    }
}
