//! Reads of the same keys at one time, made as one where there are many: each caller gets what was read after it had asked.
//! The page floor looks for pages through it.
//!
//! A read is for the one who asked. Who wants the same keys while it is under way gathers with others for the next one, which
//! begins when it ends, or a moment later. Nobody joins a read that has begun already: it may have missed a purge that this
//! caller has seen complete (safety rule 20). So a page that everybody wants costs the store one read after the other,
//! however many visitors it has, and everyone is answered as if he had asked alone.

use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

use super::flights::Flights;
use crate::backend::{Backend, Stored};
use crate::error::Error;
use crate::race::unless;

/// How many reads of the same keys run side by side before others gather. Who gathers waits for one round trip at most; with
/// two reads at once it was half of one, and a hot page on memcached was answered a tenth less often (`benches/backends`).
const MOST_AT_ONCE: u32 = 1;

/// How long the next read waits for the one under way to end. A store that takes longer is slow, and nobody is to wait for it
/// twice.
const LONGEST_WAIT: Duration = Duration::from_millis(5);

/// So that readers of different keys seldom wait for each other's turn.
const STRIPES: usize = 32;

/// The reads of one cache.
#[derive(Default)]
pub(crate) struct JointReads {
    stripes: [Mutex<Vec<Reads>>; STRIPES],
    hasher: foldhash::quality::RandomState,
}

/// The reads of the same keys. Others may have their digest: then they count together, and gather only with their like.
struct Reads {
    digest: u64,
    under_way: u32,
    next: Option<Next>,
}

/// The read after those under way.
struct Next {
    gathering: Arc<Gathering>,
    /// How many gather. Counted in the stripe's turn, where handles on the gathering come and go outside of it.
    seats: u32,
}

/// Those who wait for the next read.
struct Gathering {
    keys: Box<[String]>,
    may_begin: Notify,
    answers: OnceCell<Result<Arc<Vec<Option<Stored>>>, Error>>,
}

/// What lay under keys, each in the place of its key.
pub(crate) enum Read {
    Own(Vec<Option<Stored>>),
    /// Others were answered by the same read.
    Shared(Arc<Vec<Option<Stored>>>),
}

impl Default for Read {
    fn default() -> Self {
        Read::Own(Vec::new())
    }
}

impl Deref for Read {
    type Target = [Option<Stored>];

    fn deref(&self) -> &Self::Target {
        match self {
            Read::Own(answers) => answers,
            Read::Shared(answers) => answers,
        }
    }
}

/// How a caller reads.
enum Entered<'a> {
    Alone(UnderWay<'a>),
    Together(Arc<Gathering>),
}

impl JointReads {
    /// What lies under the keys at some moment between the call and its answer, as [`Backend::get_many`] says it.
    ///
    /// # Errors
    /// The backend's.
    pub(crate) async fn get_many(
        &self,
        backend: &dyn Backend,
        keys: &[String],
        flights: &Flights,
    ) -> Result<Read, Error> {
        let Some(last) = keys.last() else { return Ok(Read::default()) };
        let digest = self.hasher.hash_one(last);
        match self.enter(digest, keys) {
            Entered::Alone(under_way) => {
                let answers = backend.get_many(keys).await;
                drop(under_way);
                answers.map(Read::Own)
            }
            Entered::Together(gathering) => Box::pin(self.join(digest, gathering, backend, flights)).await,
        }
    }

    fn enter(&self, digest: u64, keys: &[String]) -> Entered<'_> {
        let mut stripe = self.stripe(digest);
        match stripe.iter_mut().find(|reads| reads.digest == digest) {
            None => stripe.push(Reads { digest, under_way: 1, next: None }),
            Some(reads) if reads.under_way < MOST_AT_ONCE => reads.under_way += 1,
            Some(reads) => {
                let next = reads.next.get_or_insert_with(|| Next { gathering: Gathering::of(keys).into(), seats: 0 });
                if *next.gathering.keys == *keys {
                    next.seats += 1;
                    return Entered::Together(Arc::clone(&next.gathering));
                }
                reads.under_way += 1;
            }
        }
        Entered::Alone(UnderWay { reads: self, digest })
    }

    /// Waits for the next read. One of those who gather makes it; where he goes away, another one does.
    async fn join(
        &self,
        digest: u64,
        gathering: Arc<Gathering>,
        backend: &dyn Backend,
        flights: &Flights,
    ) -> Result<Read, Error> {
        let mut seat = Seat { reads: self, digest, gathering, is_answered: false };
        let gathering = &seat.gathering;
        let read = || async {
            gathering.turn(flights).await;
            let _under_way = self.begin(digest, gathering);
            backend.get_many(&gathering.keys).await.map(Arc::new)
        };
        let answers = match gathering.answers.get_or_init(read).await {
            Ok(answers) => Ok(Read::Shared(Arc::clone(answers))),
            Err(error) => Err(error.told_again()),
        };
        seat.is_answered = true;
        answers
    }

    /// From here on nobody joins, and nobody waits: where the one who makes the read goes away, the next one makes it at once.
    fn begin<'a>(&'a self, digest: u64, gathering: &Arc<Gathering>) -> UnderWay<'a> {
        gathering.may_begin.notify_one();
        let mut stripe = self.stripe(digest);
        match stripe.iter_mut().find(|reads| reads.digest == digest) {
            Some(reads) => {
                reads.next.take_if(|next| Arc::ptr_eq(&next.gathering, gathering));
                reads.under_way += 1;
            }
            None => stripe.push(Reads { digest, under_way: 1, next: None }),
        }
        UnderWay { reads: self, digest }
    }

    /// Changes the reads of a digest, if there are any, and forgets them where nothing is left of them.
    fn change(&self, digest: u64, change: impl FnOnce(&mut Reads)) {
        let mut stripe = self.stripe(digest);
        let Some(position) = stripe.iter().position(|reads| reads.digest == digest) else { return };
        let reads = &mut stripe[position];
        change(reads);
        if reads.under_way == 0 && reads.next.is_none() {
            stripe.swap_remove(position);
        }
    }

    fn stripe(&self, digest: u64) -> MutexGuard<'_, Vec<Reads>> {
        self.stripes[digest as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathering {
    fn of(keys: &[String]) -> Self {
        Gathering { keys: keys.into(), may_begin: Notify::new(), answers: OnceCell::new() }
    }

    /// Waits until the read may begin.
    async fn turn(&self, flights: &Flights) {
        let Some(alarm) = flights.alarm(Instant::now() + LONGEST_WAIT) else { return };
        unless(alarm, self.may_begin.notified()).await;
    }
}

/// A read that has begun and not ended.
struct UnderWay<'a> {
    reads: &'a JointReads,
    digest: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.reads.change(self.digest, |reads| {
            reads.under_way -= 1;
            if let Some(next) = reads.next.as_ref().filter(|_| reads.under_way < MOST_AT_ONCE) {
                next.gathering.may_begin.notify_one();
            }
        });
    }
}

/// The place of one who gathers. The last one who goes away unanswered takes the gathering off.
struct Seat<'a> {
    reads: &'a JointReads,
    digest: u64,
    gathering: Arc<Gathering>,
    is_answered: bool,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        self.reads.change(self.digest, |reads| {
            reads.next.take_if(|next| {
                let is_here = Arc::ptr_eq(&next.gathering, &self.gathering);
                next.seats -= u32::from(is_here);
                is_here && next.seats == 0
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    const DIGEST: u64 = 7;

    fn seat<'a>(reads: &'a JointReads, keys: &[String]) -> Seat<'a> {
        match reads.enter(DIGEST, keys) {
            Entered::Together(gathering) => Seat { reads, digest: DIGEST, gathering, is_answered: false },
            Entered::Alone(_) => panic!("a read is under way"),
        }
    }

    #[test]
    fn those_who_go_away_at_the_same_time_leave_nothing_behind() {
        let reads = JointReads::default();
        let keys = ["a key".to_owned()];
        for turn in 0..3_000 {
            let first = reads.enter(DIGEST, &keys);
            assert!(matches!(first, Entered::Alone(_)));
            let seats: [_; 8] = std::array::from_fn(|_| seat(&reads, &keys));
            drop(first);
            let all_at_once = Barrier::new(seats.len());
            thread::scope(|scope| {
                for seat in seats {
                    scope.spawn(|| {
                        all_at_once.wait();
                        drop(seat);
                    });
                }
            });
            assert!(reads.stripe(DIGEST).is_empty(), "in turn {turn}");
        }
    }
}
