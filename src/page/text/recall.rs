//! What was lately worked out of the same bytes: frames that were read, and the textual keys of addresses.
//! The text store asks for the first and the service for the second, before they work it out anew.
//!
//! Nothing here says what a store has: it is asked on every visit, and whatever it answers is compared with these bytes in
//! full. Only what follows from the bytes alone is recalled, so it is right whoever worked it out, in whichever cache.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use foldhash::fast::FixedState;

use super::key::TextKeys;
use super::key_scheme::KeyScheme;
use crate::page::address::{Address, AddressBytes};
use crate::page::frame::Frame;
use crate::page::shelf::Ready;

/// Frames and addresses that the process recalls, each at most. With the longest of both and their heads made ready that is
/// some 5 MiB.
const PLACES: usize = 512;

/// The longest frame that is recalled, in bytes. To read a longer one takes little more than to compare it.
const LONGEST_FRAME: usize = 8 << 10;

/// One of the places, found by a digest of what is looked for.
struct Place<T> {
    kept: ArcSwapOption<T>,
    /// What was last looked for here in vain. Who comes for it again has it kept: a flood of pages that are asked for once
    /// drives nothing out.
    missed: AtomicU64,
}

impl<T> Place<T> {
    const fn empty() -> Self {
        Place { kept: ArcSwapOption::const_empty(), missed: AtomicU64::new(0) }
    }

    fn recall(&self, is_meant: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.kept.load().as_ref().filter(|kept| is_meant(kept)).cloned()
    }

    /// Whether this was what was last looked for, too.
    fn is_missed_again(&self, digest: u64) -> bool {
        self.missed.load(Ordering::Relaxed) == digest || {
            self.missed.store(digest, Ordering::Relaxed);
            false
        }
    }
}

static FRAMES: [Place<ReadFrame>; PLACES] = [const { Place::empty() }; PLACES];
static KEYS: [Place<KeysOf>; PLACES] = [const { Place::empty() }; PLACES];

/// A frame as it was read.
pub(crate) struct ReadFrame {
    pub(crate) frame: Frame,
    /// Where it is kept: the bytes it was read of, and its head, once it was made ready.
    kept: Option<(Bytes, OnceLock<Option<Arc<Ready>>>)>,
}

impl ReadFrame {
    /// Reads a frame; see [`Frame::read`].
    pub(crate) fn of(bytes: &Bytes) -> Option<Arc<Self>> {
        let Some(checksum) = Frame::checksum(bytes).filter(|_| bytes.len() <= LONGEST_FRAME) else {
            return Some(Arc::new(ReadFrame { frame: Frame::read(bytes)?, kept: None }));
        };
        let place = &FRAMES[checksum as usize % PLACES];
        let is_meant = |read: &ReadFrame| read.kept.as_ref().is_some_and(|(kept, _)| kept == bytes);
        if let Some(read) = place.recall(is_meant) {
            return Some(read);
        }
        if !place.is_missed_again(u64::from(checksum)) {
            return Some(Arc::new(ReadFrame { frame: Frame::read(bytes)?, kept: None }));
        }
        // A copy: a store's answer may be a piece of a larger buffer.
        let bytes = Bytes::copy_from_slice(bytes);
        let read = Arc::new(ReadFrame { frame: Frame::read(&bytes)?, kept: Some((bytes, OnceLock::new())) });
        place.kept.store(Some(Arc::clone(&read)));
        Some(read)
    }

    /// The head of its page, ready to be answered. `None` if what was stored makes no head.
    pub(crate) fn ready(&self) -> Option<Arc<Ready>> {
        let page = &self.frame.page;
        match &self.kept {
            Some((_, ready)) => ready.get_or_init(|| Ready::of(page).map(Arc::new)).clone(),
            None => Ready::for_once(page).map(Arc::new),
        }
    }
}

/// The textual keys of an address.
struct KeysOf {
    address: Box<[u8]>,
    scheme: KeyScheme,
    keys: Arc<TextKeys>,
}

/// The textual keys of an address, whose bytes in some cache's scope are `bytes`.
pub(crate) fn text_keys(scheme: KeyScheme, address: &Address<'_>, bytes: &AddressBytes) -> Arc<TextKeys> {
    let work_out = || Arc::new(scheme.text_keys(address));
    if bytes.is_long() {
        return work_out();
    }
    let digest = FixedState::default().hash_one(&**bytes);
    let place = &KEYS[digest as usize % PLACES];
    if let Some(known) = place.recall(|known| *known.address == **bytes && known.scheme == scheme) {
        return Arc::clone(&known.keys);
    }
    let keys = work_out();
    if place.is_missed_again(digest) {
        let keys = Arc::clone(&keys);
        place.kept.store(Some(Arc::new(KeysOf { address: bytes.to_vec().into(), scheme, keys })));
    }
    keys
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request, StatusCode};

    use super::*;
    use crate::cache::stamps::Stamp;
    use crate::clock::Timestamp;
    use crate::page::frame::{Page, PageFacts};
    use crate::page::head::write_head;
    use crate::page::staleness::Grace;
    use crate::page::variant::{Seen, write_variant};

    fn frame(body: Vec<u8>) -> Bytes {
        let mut prefix = Vec::new();
        write_variant(&mut prefix, &Seen::of(&Request::new(())), &[], &HeaderMap::new());
        let variant = prefix.len();
        let headers = [(http::header::ETAG, http::HeaderValue::from_static("\"an etag\""))].into_iter().collect();
        write_head(&mut prefix, &headers, |_| true);
        let facts = PageFacts {
            stored_at: Timestamp::from_secs(1_000),
            expires_at: Timestamp::from_secs(1_600),
            age: 0,
            status: StatusCode::OK,
            is_head: false,
            is_public: false,
            grace: Grace::default(),
            cost: 0,
            tagged: None,
        };
        let page = Page::new(facts, &prefix, variant, vec![body.into()]).unwrap();
        let address = Bytes::from_static(b"an address");
        Frame { generation: 1, stamp: Stamp::from_number(2), tags: Vec::new(), address, page }.write()
    }

    #[test]
    fn a_frame_that_is_read_again_is_kept_and_then_recalled() {
        let bytes = frame(b"read again and again".to_vec());
        let first = ReadFrame::of(&bytes).unwrap();
        assert!(first.kept.is_none(), "once is no habit");
        let second = ReadFrame::of(&bytes).unwrap();
        let third = ReadFrame::of(&Bytes::copy_from_slice(&bytes)).unwrap();
        assert!(Arc::ptr_eq(&second, &third));
        assert_eq!(first.frame, third.frame);
        let (one, other) = (second.ready().unwrap(), third.ready().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(one.head["etag"], "\"an etag\"");
        assert_eq!(one.body, "read again and again");
    }

    #[test]
    fn rule_21_bytes_that_bear_the_checksum_of_a_kept_frame_are_read_all_the_same() {
        let bytes = frame(b"kept, and then damaged".to_vec());
        for _ in 0..3 {
            ReadFrame::of(&bytes).unwrap();
        }
        for position in (0..bytes.len()).rev() {
            let mut damaged = bytes.to_vec();
            damaged[position] ^= 1;
            assert!(ReadFrame::of(&damaged.into()).is_none(), "changed at {position}");
        }
    }

    #[test]
    fn a_long_frame_is_not_kept() {
        let bytes = frame(vec![b'x'; LONGEST_FRAME]);
        let read: Vec<_> = (0..3).map(|_| ReadFrame::of(&bytes).unwrap()).collect();
        assert!(read.iter().all(|read| read.kept.is_none()));
    }

    #[test]
    fn the_keys_of_an_address_are_recalled_for_their_scheme() {
        let address = Address {
            prefix: "recalled",
            scheme: "http",
            authority: b"example.com",
            port: None,
            target: "/",
            language: None,
            time_zone: None,
        };
        let bytes = address.to_bytes(":1:");
        for scheme in [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61] {
            let keys: Vec<_> = (0..3).map(|_| text_keys(scheme, &address, &bytes)).collect();
            assert!(Arc::ptr_eq(&keys[1], &keys[2]));
            for keys in keys {
                assert_eq!(keys.header(), scheme.text_keys(&address).header());
            }
        }
    }
}
