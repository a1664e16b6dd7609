//! The lanes to one server, and which of them a request takes: large values keep apart from small ones, reads take the least
//! busy lane, and writes keep to the lane of their key. The server asks for a place for each request.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::adrift::{Adrift, Write};
use super::codec::{Reply, Request};
use super::lane::Lane;
use super::marks::Mark;
use super::sizes::{LARGE, Sizes};

/// Lanes for everything but large values. With one, client and server take turns: each sleeps until the other has done
/// all that was asked, and is woken once a batch. With two, the callers of one lane are served while the server works for
/// the other; more make batches smaller, and what is asked at once is what makes one connection cheap.
const SMALL_LANES: usize = 2;

/// Lanes for large values.
const LARGE_LANES: usize = 4;

/// How many large requests go out on a lane ahead of their replies: enough to keep client and server at work, and few
/// enough that values do not pile up in socket buffers, where they leave the processor's caches. With eight, 256 tasks set
/// a fifth fewer values of 64 KiB over TCP (`benches/memcached`).
const LARGE_AHEAD: usize = 2;

/// From this many keys on, a request for several keys is a large one.
const MANY_KEYS: usize = 64;

/// The lanes to one server.
pub(crate) struct Lanes {
    small: [Track; SMALL_LANES],
    large: [Track; LARGE_LANES],
    sizes: Sizes,
    adrift: Adrift<Way>,
}

/// A lane, and how many callers wait on it.
struct Track {
    lane: Arc<Lane>,
    waiting: AtomicUsize,
}

/// The name of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Small(usize),
    Large(usize),
}

/// A request's place on a lane, until it is dropped.
pub(crate) struct Place<'a> {
    track: &'a Track,
    sizes: &'a Sizes,
    mark: Option<Mark>,
    write: Option<Write<'a, Way>>,
}

impl Lanes {
    pub(crate) fn new() -> Lanes {
        Lanes {
            small: array::from_fn(|_| Track::new(usize::MAX)),
            large: array::from_fn(|_| Track::new(LARGE_AHEAD)),
            sizes: Sizes::new(),
            adrift: Adrift::new(),
        }
    }

    /// A place for a request. Writes to one key keep to one lane as long as the value's size class stays, and behind a write
    /// that may still be on its way, so that none overtakes what was asked before it. A read finds what was answered before
    /// it was asked, on whichever lane.
    pub(crate) fn place(&self, request: &Request<'_>) -> Place<'_> {
        let mark = request.key().map(Mark::of);
        let write = match (request, mark) {
            (Request::Get { .. }, _) | (_, None) => None,
            (_, Some(mark)) => Some(self.adrift.begin(mark, self.way(request, mark))),
        };
        let track = match &write {
            Some(write) => self.track(write.lane()),
            None if self.is_large(request, mark) => least_busy(&self.large),
            None => least_busy(&self.small),
        };
        track.waiting.fetch_add(1, Ordering::Relaxed);
        Place { track, sizes: &self.sizes, mark, write }
    }

    /// Closes the connections as soon as nothing is owed on them.
    pub(crate) fn close(&self) {
        self.small.iter().chain(&self.large).for_each(|track| track.lane.close());
    }

    /// The lane of a write, always the same one for a key and a size class.
    fn way(&self, request: &Request<'_>, mark: Mark) -> Way {
        // A value that was large keeps its lane for the write that makes it small.
        let is_large = self.is_large(request, Some(mark));
        if let Request::Store { data, .. } = request {
            self.sizes.note(mark, data.len());
        }
        if is_large { Way::Large(mark.among(LARGE_LANES)) } else { Way::Small(mark.among(SMALL_LANES)) }
    }

    /// Whether a large value goes out or may come back.
    fn is_large(&self, request: &Request<'_>, mark: Option<Mark>) -> bool {
        match request {
            Request::GetMany { keys } => keys.len() >= MANY_KEYS,
            Request::Store { data, .. } if data.len() >= LARGE => true,
            _ => mark.is_some_and(|mark| self.sizes.is_large(mark)),
        }
    }

    fn track(&self, way: Way) -> &Track {
        match way {
            Way::Small(number) => &self.small[number],
            Way::Large(number) => &self.large[number],
        }
    }
}

/// The first of those on which the fewest wait: one that was just used is warm, and who asks one thing at a time needs no
/// second connection to read.
fn least_busy<const N: usize>(tracks: &[Track; N]) -> &Track {
    let mut least = (&tracks[0], usize::MAX);
    for track in tracks {
        let waiting = track.waiting.load(Ordering::Relaxed);
        if waiting < least.1 {
            least = (track, waiting);
        }
    }
    least.0
}

impl Track {
    fn new(most_ahead: usize) -> Track {
        Track { lane: Lane::new(most_ahead), waiting: AtomicUsize::new(0) }
    }
}

impl<'a> Place<'a> {
    pub(crate) fn lane(&self) -> &'a Arc<Lane> {
        &self.track.lane
    }

    /// The request was answered.
    pub(crate) fn answered(&mut self, reply: &Reply) {
        if let Some(write) = self.write.take() {
            write.answered();
        }
        if let (Reply::Value(value), Some(mark)) = (reply, self.mark) {
            self.sizes.note(mark, value.data.len());
        }
    }

    /// The request failed before any byte of it was sent.
    pub(crate) fn never_sent(&mut self) {
        if let Some(write) = self.write.take() {
            write.never_sent();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.track.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::super::codec::{Keys, Store};
    use super::super::value::{Expiry, ExpiryTime, Value};
    use super::*;

    fn never() -> ExpiryTime {
        Expiry::Never.at(SystemTime::UNIX_EPOCH)
    }

    fn get(key: &[u8]) -> Request<'_> {
        Request::Get { key, with_cas: false }
    }

    fn set<'a>(key: &'a [u8], data: &'a Bytes) -> Request<'a> {
        Request::Store { how: Store::Set, key, data, flags: 0, expiry: never() }
    }

    impl Lanes {
        fn name(&self, place: &Place<'_>) -> Way {
            let number_among = |tracks: &[Track]| tracks.iter().position(|track| std::ptr::eq(track, place.track));
            number_among(&self.small)
                .map(Way::Small)
                .or_else(|| number_among(&self.large).map(Way::Large))
                .expect("it is one of them")
        }

        /// Where a request goes that is answered at once.
        fn way_of(&self, request: &Request<'_>) -> Way {
            let mut place = self.place(request);
            place.answered(&Reply::Done);
            self.name(&place)
        }
    }

    #[test]
    fn who_reads_one_thing_at_a_time_uses_one_connection_and_two_use_two() {
        let lanes = Lanes::new();
        for key in [b"a", b"b", b"c"] {
            assert_eq!(lanes.way_of(&get(key)), Way::Small(0));
        }
        let (first, second, third) = (lanes.place(&get(b"a")), lanes.place(&get(b"a")), lanes.place(&get(b"a")));
        let ways = [&first, &second, &third].map(|place| lanes.name(place));
        assert_eq!(ways, [Way::Small(0), Way::Small(1), Way::Small(0)]);
        drop((first, third));
        assert_eq!(lanes.way_of(&get(b"a")), Way::Small(0));
    }

    #[test]
    fn writes_to_a_key_keep_to_its_lane_and_keys_share_the_lanes() {
        let (lanes, data) = (Lanes::new(), Bytes::from_static(b"value"));
        let ways: Vec<Way> = (0..100u8)
            .map(|number| {
                let key = [b'k', number];
                let busy: Vec<_> = (0..number % 3).map(|_| lanes.place(&get(b"other"))).collect();
                let way = lanes.way_of(&set(&key, &data));
                assert_eq!(lanes.way_of(&Request::Delete { key: &key }), way);
                assert_eq!(lanes.way_of(&Request::Touch { key: &key, expiry: never() }), way);
                drop(busy);
                way
            })
            .collect();
        for way in [Way::Small(0), Way::Small(1)] {
            assert!(ways.iter().filter(|other| **other == way).count() > 20, "{ways:?}");
        }
    }

    #[test]
    fn large_values_have_lanes_of_their_own_until_a_write_made_them_small() {
        let (lanes, large, small) = (Lanes::new(), Bytes::from(vec![0; LARGE]), Bytes::from_static(b"value"));
        let home = lanes.way_of(&set(b"k", &large));
        assert_eq!(home, Way::Large(Mark::of(b"k").among(LARGE_LANES)));
        assert_eq!(lanes.way_of(&Request::Delete { key: b"k" }), home);
        assert!(matches!(lanes.way_of(&get(b"k")), Way::Large(_)));
        assert_eq!(lanes.way_of(&set(b"k", &small)), home, "it must not overtake the large one");
        assert!(matches!(lanes.way_of(&set(b"k", &small)), Way::Small(_)));
        // A reader learns of sizes as well.
        let value = Value { data: large, flags: 0, cas: None };
        lanes.place(&get(b"k")).answered(&Reply::Value(value));
        assert!(matches!(lanes.way_of(&get(b"k")), Way::Large(_)));
    }

    #[test]
    fn many_keys_are_a_large_request() {
        let (lanes, mut keys) = (Lanes::new(), Keys::default());
        for number in 1..=MANY_KEYS {
            assert!(matches!(lanes.way_of(&Request::GetMany { keys: &keys }), Way::Small(_)), "{number}");
            keys.push(b"k");
        }
        assert!(matches!(lanes.way_of(&Request::GetMany { keys: &keys }), Way::Large(_)));
    }

    #[test]
    fn a_write_that_may_be_on_its_way_is_not_overtaken_and_forgotten_once_a_later_one_is_answered() {
        let (lanes, large, small) = (Lanes::new(), Bytes::from(vec![0; LARGE]), Bytes::from_static(b"value"));
        // A large one is left, then a small one is answered behind it.
        drop(lanes.place(&set(b"k", &large)));
        let home = lanes.way_of(&set(b"k", &small));
        assert!(matches!(home, Way::Large(_)));
        let usual = lanes.way_of(&set(b"k", &small));
        assert!(matches!(usual, Way::Small(_)));
        // A small one is left, then a large one is answered behind it.
        drop(lanes.place(&set(b"k", &small)));
        assert_eq!(lanes.way_of(&set(b"k", &large)), usual);
        assert_eq!(lanes.way_of(&set(b"k", &large)), home);
        // Nothing of it was sent.
        lanes.way_of(&set(b"k", &small));
        lanes.place(&set(b"k", &large)).never_sent();
        assert_eq!(lanes.way_of(&set(b"k", &small)), home, "it was large");
        assert_eq!(lanes.way_of(&set(b"k", &small)), usual);
    }
}
