//! Which came first, in a store that many processes share and that may forget anything: counters and stamps under keys of
//! their own, on the primitives that every backend has. Tags, and the page floor for its URLs, stand on it.
//!
//! A **stamp** is a number that is nobody else's. It is put under its key only where nothing is, once, and never changed:
//! whoever deletes the key makes everything that bears the number invalid for good. A stamp that the store forgot does the
//! same, so forgetting costs a miss and never brings anything back.
//!
//! A **counter** says what began before what. A purge first counts, then deletes the stamp. Whatever is begun takes down
//! the count before, and takes a stamp for its own only where the count, *read after the stamp was seen in its place*, is
//! still the same: then no purge has begun since, and whichever begins from now on will delete this very stamp. A counter
//! that the store forgot begins anew at a number that has nothing to do with the old one, and the two never agree.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use bytes::{BufMut, Bytes};

use super::Cache;
use crate::backend::envelope::PICKLED_NONE;
use crate::backend::{Stored, backend_error, flags};
use crate::error::Error;

/// A number that is nobody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// One that was never there before.
    pub(super) fn new() -> Self {
        Stamp(any_number())
    }

    pub(crate) fn from_number(number: u64) -> Self {
        Stamp(number)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    pub(super) fn write(self) -> Stored {
        write([self.0])
    }

    /// The stamp that lies under a key; anything else is none.
    pub(crate) fn read(stored: &Stored) -> Option<Self> {
        let [number] = read(stored)?;
        Some(Stamp(number))
    }
}

/// Puts numbers into a value that is a miss to every Django.
pub(super) fn write<const N: usize>(numbers: [u64; N]) -> Stored {
    let mut data = PICKLED_NONE.to_vec();
    numbers.iter().for_each(|number| data.put_u64_le(*number));
    Stored { data: Bytes::from(data), flags: flags::STAMP }
}

/// The numbers that [`write`] put into a value.
pub(super) fn read<const N: usize>(stored: &Stored) -> Option<[u64; N]> {
    if stored.flags != flags::STAMP {
        return None;
    }
    let (numbers, rest) = stored.data.strip_prefix(&PICKLED_NONE)?.as_chunks::<8>();
    let numbers: [[u8; 8]; N] = numbers.try_into().ok()?;
    rest.is_empty().then_some(numbers.map(u64::from_le_bytes))
}

/// What a counter said: which counter it was in the upper half, as one that was forgotten begins as another, and how far
/// it had counted in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(u64);

const HALF: u32 = 32;

impl Count {
    fn first() -> Self {
        // Positive as the signed numbers that stores count in, and far from their end.
        Count((any_number() >> HALF >> 2 | 1 << 28) << HALF)
    }

    pub(super) fn from_number(number: u64) -> Self {
        Count(number)
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }

    fn write(self) -> Stored {
        Stored { data: Bytes::from(self.0.to_string()), flags: flags::INTEGER }
    }

    fn read(stored: &Stored) -> Option<Self> {
        let text = std::str::from_utf8(&stored.data).ok().filter(|_| stored.flags == flags::INTEGER)?;
        text.trim_end_matches(' ').parse().ok().map(Count)
    }

    /// Whether all that was counted up to `other` was counted up to this.
    pub(super) fn covers(self, other: Count) -> bool {
        self.is_of_one_counter_with(other) && other.0 <= self.0
    }

    pub(super) fn is_of_one_counter_with(self, other: Count) -> bool {
        self.0 >> HALF == other.0 >> HALF
    }
}

/// The key of the counter of tags that were purged.
const PURGES: &str = "larder.purges";

/// The key of a counter of URLs that were deleted. There are many, each for URLs whose digests begin with the same byte: a
/// fill of a URL that nothing was stored for is in vain if the counter moves meanwhile.
const DELETIONS: &str = "larder.deletions.";

impl Cache {
    /// The final key of the counter of purges.
    pub(crate) fn purges_key(&self) -> Result<String, Error> {
        self.final_key(PURGES)
    }

    /// The final key of the counter of deletions, for URLs with this digest.
    pub(crate) fn deletions_key(&self, digest: &str) -> Result<String, Error> {
        self.final_key(&format!("{DELETIONS}{}", digest.get(..2).unwrap_or_default()))
    }

    /// Forgets all counters: nothing that is under way will bear a stamp. To be called before the stamps are deleted one by
    /// one, as a store does that is cleared.
    pub(super) async fn forget_counters(&self) -> Result<(), Error> {
        let deletions = (0..=u8::MAX).map(|digest| self.deletions_key(&hex::encode([digest])));
        let counters = std::iter::once(self.purges_key()).chain(deletions).collect::<Result<Vec<_>, _>>()?;
        self.backend().delete_many(&counters).await
    }
}

fn any_number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// How often a counter is begun anew that does not stay. A store with room for less is of no use.
const TRIES: usize = 8;

/// Counts one more, under a final key.
pub(crate) async fn count_up(cache: &Cache, counter: &str) -> Result<(), Error> {
    let backend = cache.backend();
    for _ in 0..TRIES {
        match backend.incr(counter, 1).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {
                // A new counter is another one, which is as good as one more.
                if backend.add(counter, Count::first().write(), None).await? {
                    return Ok(());
                }
            }
            Err(Error::NotANumber { .. } | Error::Overflow { .. }) => {
                backend.delete(counter).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(backend_error(backend.name(), "a count of purges does not stay in the store"))
}

/// What a counter says, given what was found under its key; one that is not there is begun.
pub(crate) async fn count_of(cache: &Cache, counter: &str, found: Option<&Stored>) -> Result<Option<Count>, Error> {
    if let Some(count) = found.and_then(Count::read) {
        return Ok(Some(count));
    }
    let backend = cache.backend();
    if found.is_some() {
        backend.delete(counter).await?;
    }
    let first = Count::first();
    if backend.add(counter, first.write(), None).await? {
        return Ok(Some(first));
    }
    Ok(backend.get(counter).await?.as_ref().and_then(Count::read))
}

/// What a counter says at this very moment. It is counted up by nothing: a read might be answered by a replica that has not
/// heard of the last purge.
pub(super) async fn count_now(cache: &Cache, counter: &str) -> Result<Option<Count>, Error> {
    match cache.backend().incr(counter, 0).await {
        Ok(number) => Ok(number.and_then(|number| u64::try_from(number).ok()).map(Count)),
        Err(Error::NotANumber { .. } | Error::Overflow { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The stamp under a key, given what was found there; where there was none, a new one. It stays for `ttl` from now on;
/// `None` where it did not stay until now.
pub(super) async fn stamp_at(
    cache: &Cache,
    key: &str,
    found: Option<&Stored>,
    ttl: Option<Duration>,
) -> Result<Option<Stamp>, Error> {
    let backend = cache.backend();
    if let Some(stamp) = found.and_then(Stamp::read) {
        return Ok(backend.touch(key, ttl).await?.then_some(stamp));
    }
    if found.is_some() {
        backend.delete(key).await?;
    }
    let stamp = Stamp::new();
    if backend.add(key, stamp.write(), ttl).await? {
        return Ok(Some(stamp));
    }
    Ok(backend.get(key).await?.as_ref().and_then(Stamp::read))
}

/// The keys of one stamp and of the counter beside it, and what was known of them when something was begun.
pub(crate) struct Claim<'a> {
    pub(crate) stamp_key: &'a str,
    pub(crate) counter: &'a str,
    /// The stamp that was in its place already.
    pub(crate) seen: Option<Stamp>,
    pub(crate) begun: Option<Count>,
}

impl Claim<'_> {
    /// The stamp that what was begun may bear, given what is found under its key now; it then stays for `ttl` from now on.
    /// `None` where there was a purge meanwhile, or it cannot be told.
    pub(crate) async fn hold(
        &self,
        cache: &Cache,
        found: Option<&Stored>,
        ttl: Option<Duration>,
    ) -> Result<Option<Stamp>, Error> {
        if self.seen.is_some() && found.and_then(Stamp::read) == self.seen {
            // It was in its place before all that was begun: whoever purges afterwards deletes it.
            return stamp_at(cache, self.stamp_key, found, ttl).await;
        }
        // One that is gone may have been purged, or its time was up; the counter tells.
        let Some(begun) = self.begun else { return Ok(None) };
        let Some(stamp) = stamp_at(cache, self.stamp_key, found, ttl).await? else { return Ok(None) };
        let now = count_now(cache, self.counter).await?;
        Ok(now.is_some_and(|now| begun.covers(now)).then_some(stamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let stamp = Stamp::new();
        assert_eq!(Stamp::read(&stamp.write()), Some(stamp));
        assert_eq!(read(&write([1, 2, 3])), Some([1, 2, 3]));
        assert_eq!(read::<2>(&write([1, 2, 3])), None);
        for length in 0..12 {
            let cut = Stored { data: stamp.write().data.slice(..length), flags: flags::STAMP };
            assert_eq!(Stamp::read(&cut), None, "cut at {length}");
        }
        assert_eq!(Stamp::read(&Stored { flags: flags::BYTES, ..stamp.write() }), None);
    }

    #[test]
    fn counters_are_positive_and_each_is_another() {
        for _ in 0..1_000 {
            let (one, other) = (Count::first(), Count::first());
            assert!(i64::try_from(one.0).is_ok_and(|number| number > 0 && i64::MAX - number > i64::from(u32::MAX)));
            assert_eq!(Count::read(&one.write()), Some(one));
            let next = Count(one.0 + 1);
            assert!(next.covers(one) && one.covers(one) && !one.covers(next));
            assert!(one == other || !(one.covers(other) || other.covers(one)));
        }
    }
}
