//! The fills of pages that are under way: who leads one, who waits for it, and how it ended.
//! They belong to the cache, so that all layers on it meet; the page floor boards them and says what they brought.

mod refused;
mod stores;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use self::refused::Refused;
use self::stores::Stores;
use super::lease::Lease;
use crate::clock::Timestamp;
use crate::race::unless;

type Hasher = foldhash::quality::RandomState;

/// The flights of one cache. A flight has the address of its page, by which it is cut, and a key, by which those who
/// want the same page meet.
#[derive(Default)]
pub(crate) struct Flights {
    stripes: [Stripe; STRIPES],
    landed: AtomicU64,
    /// Nothing can end a wait here, so nobody waits.
    has_no_timers: AtomicBool,
    stores: Arc<Stores>,
    hasher: Hasher,
}

/// So that misses of different pages seldom wait for each other's turn.
const STRIPES: usize = 32;

/// How many keys whose last answer was not to be stored are remembered, all stripes together.
const MOST_REFUSED: usize = 10_000;

/// The flights of some addresses.
#[derive(Default)]
struct Stripe {
    table: Mutex<Table>,
    landed: AtomicU64,
    storing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Table {
    /// By address.
    flights: HashMap<Arc<[u8]>, Sisters, Hasher>,
    refused: Refused,
}

/// The flights to one address; mostly there is one.
type Sisters = SmallVec<[Arc<Flight>; 1]>;

struct Flight {
    address: Arc<[u8]>,
    key: Box<[u8]>,
    /// An [`End`], or [`UNDER_WAY`].
    end: AtomicU8,
    has_ended: Notify,
    /// Raised under the lock of its table alone.
    waiters: AtomicUsize,
    /// The last waiter has left.
    is_deserted: Notify,
}

/// How a flight ended, for those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its page is stored: look for it.
    Landed,
    /// Its answer was not for others, or none came: run alone.
    Refused,
    /// The handler failed: run alone, or make do with what there is.
    Failed,
    /// Its leader left without a word: somebody else may lead.
    Dropped,
    /// Its page was deleted meanwhile: look again, and wait for it no longer.
    Cut,
}

const UNDER_WAY: u8 = 0;

impl End {
    fn to_byte(self) -> u8 {
        match self {
            End::Landed => 1,
            End::Refused => 2,
            End::Dropped => 3,
            End::Cut => 4,
            End::Failed => 5,
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        [End::Landed, End::Refused, End::Dropped, End::Cut, End::Failed].into_iter().find(|end| end.to_byte() == byte)
    }
}

/// What one who has not found a page is to do.
pub(crate) enum Boarding {
    /// Run the handler for all.
    Lead(Lead),
    /// Wait for the one who does.
    Wait(Seat),
    /// Run the handler for oneself: the last answer was not to be stored, or too many wait already.
    Alone(Lead),
}

impl Flights {
    /// How many flights have landed. One who looked for a page in vain, and leads after this number has changed, looks
    /// again: another's page may have been stored between.
    pub(crate) fn landed(&self) -> u64 {
        self.landed.load(Ordering::Acquire)
    }

    /// The same of few addresses, this one among them.
    pub(crate) fn landed_near(&self, address: &[u8]) -> u64 {
        self.stripe(address).landed.load(Ordering::Acquire)
    }

    /// Whether there is a runtime in which one can wait.
    pub(crate) fn can_wait(&self) -> bool {
        !self.has_no_timers.load(Ordering::Relaxed) && Handle::try_current().is_ok()
    }

    /// Ends a wait at `deadline`; `None` where nothing can.
    ///
    /// A runtime may have no timers, which tokio tells in no other way. One that has none is told to enable them, once,
    /// in tokio's words, and its requests do without waiting; they do not fail.
    pub(crate) fn alarm(&self, deadline: Instant) -> Option<Sleep> {
        let alarm = catch_unwind(|| sleep_until(deadline)).ok();
        if alarm.is_none() {
            self.has_no_timers.store(true, Ordering::Relaxed);
        }
        alarm
    }

    /// Leads the flight of `key`, or waits for it where at most `most_waiters` do.
    pub(crate) fn board(self: &Arc<Self>, address: &[u8], key: &[u8], most_waiters: usize, now: Timestamp) -> Boarding {
        let mut table = self.stripe(address).table();
        if table.refused.remembers(self.name(address, key), now) {
            return Boarding::Alone(self.alone(address, key));
        }
        let flights = table.flights.get_key_value(address);
        let address = flights.map_or_else(|| Arc::from(address), |(address, _)| Arc::clone(address));
        if let Some(flight) = flights.and_then(|(_, flights)| flights.iter().find(|flight| *flight.key == *key)) {
            if flight.waiters.load(Ordering::Acquire) >= most_waiters {
                return Boarding::Alone(self.alone(&address, key));
            }
            flight.waiters.fetch_add(1, Ordering::AcqRel);
            return Boarding::Wait(Seat { flights: Arc::clone(self), flight: Arc::clone(flight) });
        }
        let flight = Arc::new(Flight {
            address: Arc::clone(&address),
            key: key.into(),
            end: AtomicU8::new(UNDER_WAY),
            has_ended: Notify::new(),
            waiters: AtomicUsize::new(0),
            is_deserted: Notify::new(),
        });
        let mut lead = self.alone(&address, key);
        lead.flight = Some(Arc::clone(&flight));
        table.flights.entry(address).or_default().push(flight);
        Boarding::Lead(lead)
    }

    /// One who runs the handler for himself.
    pub(crate) fn alone(self: &Arc<Self>, address: &[u8], key: &[u8]) -> Lead {
        let (stripe, name) = (self.stripe_of(address), self.name(address, key));
        Lead { flights: Arc::clone(self), stripe, name, flight: None, lease: None }
    }

    /// The pages that are on their way into the store.
    pub(crate) fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// Cuts the flights to an address: whoever comes from now on starts another one, and those who wait look again.
    pub(crate) fn cut(&self, address: &[u8]) {
        let flights = self.stripe(address).table().flights.remove(address);
        flights.into_iter().flatten().for_each(|flight| flight.ends(End::Cut));
    }

    /// The turn to store a page of an address where that takes several steps, so that the pages of one address that are
    /// stored at once, each for its own visitors, do not lose each other.
    pub(crate) async fn turn_to_store(&self, address: &[u8]) -> tokio::sync::MutexGuard<'_, ()> {
        self.stripe(address).storing.lock().await
    }

    fn stripe(&self, address: &[u8]) -> &Stripe {
        &self.stripes[self.stripe_of(address)]
    }

    fn stripe_of(&self, address: &[u8]) -> usize {
        self.hasher.hash_one(address) as usize % STRIPES
    }

    fn name(&self, address: &[u8], key: &[u8]) -> u64 {
        self.hasher.hash_one((address, key))
    }
}

impl Stripe {
    /// The table is whole whatever panicked: each change to it is one call.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The first to say so counts.
    fn ends(&self, end: End) {
        let _ = self.end.compare_exchange(UNDER_WAY, end.to_byte(), Ordering::AcqRel, Ordering::Acquire);
        self.has_ended.notify_waiters();
    }

    fn is_awaited(&self) -> bool {
        self.end.load(Ordering::Acquire) == UNDER_WAY && self.waiters.load(Ordering::Acquire) > 0
    }
}

/// One who runs the handler: for all, or for himself alone. Dropped without a word, one of those who wait leads in his
/// place; dropped in a panic, they run alone.
pub(crate) struct Lead {
    flights: Arc<Flights>,
    stripe: usize,
    /// What the flight is remembered by where it brought nothing to store.
    name: u64,
    /// There until it has ended, where it is for all.
    flight: Option<Arc<Flight>>,
    /// Keeps other processes waiting, too.
    lease: Option<Lease>,
}

impl Lead {
    /// The page is stored: those who wait may look for it, and whoever comes later looks by himself.
    pub(crate) fn land(mut self) {
        // Before the flight is off the table: one who finds it gone must see that it landed.
        self.flights.landed.fetch_add(1, Ordering::AcqRel);
        self.stripe().landed.fetch_add(1, Ordering::AcqRel);
        self.stripe().table().refused.forget(self.name);
        self.end(End::Landed);
    }

    /// The answer was not to be stored, and the next one is not likely to be: for a while, requests for it run side by side.
    pub(crate) fn refuse(mut self, now: Timestamp) {
        self.stripe().table().refused.remember(self.name, now, MOST_REFUSED / STRIPES);
        self.end(End::Refused);
    }

    /// The handler failed, or answered with an error.
    pub(crate) fn report_failure(mut self) {
        self.end(End::Failed);
    }

    /// No answer came, or it could not be stored, this time.
    pub(crate) fn fail(mut self) {
        self.end(End::Refused);
    }

    /// Holds the lease until the flight ends.
    pub(crate) fn hold(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// One who sees whether anybody waits; `None` for one who is alone.
    pub(crate) fn lookout(&self) -> Option<Lookout> {
        self.flight.clone().map(|flight| Lookout { flight })
    }

    fn stripe(&self) -> &Stripe {
        &self.flights.stripes[self.stripe]
    }

    fn end(&mut self, end: End) {
        self.lease = None;
        let Some(flight) = self.flight.take() else { return };
        let mut table = self.stripe().table();
        if let Some(others) = table.flights.get_mut(&flight.address) {
            others.retain(|other| !Arc::ptr_eq(other, &flight));
            if others.is_empty() {
                table.flights.remove(&flight.address);
            }
        }
        drop(table);
        flight.ends(end);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.end(if std::thread::panicking() { End::Refused } else { End::Dropped });
    }
}

/// A place among those who wait.
pub(crate) struct Seat {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
}

impl Seat {
    /// Waits for the end of the flight; `None` where that does not come until the deadline. Cancel-safe.
    pub(crate) async fn ended(&self, deadline: Instant) -> Option<End> {
        unless(self.flights.alarm(deadline)?, self.end()).await
    }

    async fn end(&self) -> End {
        heard(&self.flight.has_ended, || End::of_byte(self.flight.end.load(Ordering::Acquire))).await
    }

    /// Waits no longer.
    pub(crate) fn into_lone_lead(self) -> Lead {
        self.flights.alone(&self.flight.address, &self.flight.key)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.flight.waiters.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.is_deserted.notify_waiters();
        }
    }
}

/// Sees whether anybody waits for a flight, wherever its leader is.
#[derive(Clone)]
pub(crate) struct Lookout {
    flight: Arc<Flight>,
}

impl Lookout {
    /// Whether anybody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.flight.is_awaited()
    }

    /// Waits until nobody waits who could still get something. Cancel-safe.
    pub(crate) async fn deserted(&self) {
        heard(&self.flight.is_deserted, || (!self.flight.is_awaited()).then_some(())).await;
    }
}

/// What is there once it is there: looked for at once, and with every notification. Cancel-safe.
async fn heard<T>(news: &Notify, look: impl Fn() -> Option<T>) -> T {
    loop {
        let mut notified = pin!(news.notified());
        // In line before the look, or what happens between the two would be missed.
        notified.as_mut().enable();
        if let Some(found) = look() {
            return found;
        }
        notified.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn board(flights: &Arc<Flights>, address: &str, key: &str) -> Boarding {
        flights.board(address.as_bytes(), key.as_bytes(), 2, NOW)
    }

    fn lead(boarding: Boarding) -> Lead {
        match boarding {
            Boarding::Lead(lead) => lead,
            Boarding::Wait(_) => panic!("somebody leads already"),
            Boarding::Alone(_) => panic!("it runs alone"),
        }
    }

    fn seat(boarding: Boarding) -> Seat {
        match boarding {
            Boarding::Wait(seat) => seat,
            _ => panic!("there is nobody to wait for"),
        }
    }

    fn is_empty(flights: &Flights) -> bool {
        flights.stripes.iter().all(|stripe| stripe.table().flights.is_empty())
    }

    async fn end_of(seat: &Seat) -> End {
        seat.ended(Instant::now() + std::time::Duration::from_secs(60)).await.expect("it has ended")
    }

    #[tokio::test]
    async fn however_a_flight_ends_those_who_wait_hear_of_it_and_nothing_is_left() {
        type Ends = fn(Lead);
        let ends: [(Ends, End, bool); 5] = [
            (Lead::land, End::Landed, false),
            (|lead| lead.refuse(NOW), End::Refused, true),
            (Lead::fail, End::Refused, false),
            (drop, End::Dropped, false),
            (|lead| lead.flights.clone().cut(b"a"), End::Cut, false),
        ];
        for (ending, end, is_remembered) in ends {
            let flights = Arc::new(Flights::default());
            let leader = lead(board(&flights, "a", "k"));
            let (other, seats) =
                (lead(board(&flights, "a", "other")), [(); 2].map(|()| seat(board(&flights, "a", "k"))));
            drop(other);
            assert!(matches!(board(&flights, "a", "k"), Boarding::Alone(_)), "two wait at most");
            let lookout = leader.lookout().expect("it is for all");
            assert!(lookout.is_awaited());
            ending(leader);
            for seat in &seats {
                assert_eq!(end_of(seat).await, end);
            }
            lookout.deserted().await;
            assert!(is_empty(&flights), "{end:?}");
            assert_eq!(flights.landed(), u64::from(end == End::Landed));
            assert_eq!(flights.landed_near(b"a"), flights.landed());
            assert_eq!(matches!(board(&flights, "a", "k"), Boarding::Alone(_)), is_remembered, "{end:?}");
        }
    }

    #[tokio::test]
    async fn a_flight_that_was_cut_ends_without_harm_to_the_next() {
        let flights = Arc::new(Flights::default());
        let first = lead(board(&flights, "a", "k"));
        let waiting = seat(board(&flights, "a", "k"));
        flights.cut(b"a");
        let second = lead(board(&flights, "a", "k"));
        let seat = seat(board(&flights, "a", "k"));
        first.land();
        assert_eq!(end_of(&waiting).await, End::Cut);
        assert!(matches!(board(&flights, "a", "k"), Boarding::Wait(_)), "the second is under way still");
        second.land();
        assert_eq!(end_of(&seat).await, End::Landed);
        assert!(is_empty(&flights));
    }

    #[tokio::test]
    async fn a_leader_sees_when_the_last_one_leaves() {
        let flights = Arc::new(Flights::default());
        let leader = lead(board(&flights, "a", "k"));
        let lookout = leader.lookout().expect("it is for all");
        let seats = [(); 2].map(|()| seat(board(&flights, "a", "k")));
        let watching = tokio::spawn(async move { lookout.deserted().await });
        for seat in seats {
            tokio::task::yield_now().await;
            assert!(!watching.is_finished());
            drop(seat);
        }
        watching.await.expect("no panic");
    }

    #[test]
    fn one_who_runs_alone_and_stores_ends_the_remembering() {
        let flights = Arc::new(Flights::default());
        lead(board(&flights, "a", "k")).refuse(NOW);
        let Boarding::Alone(alone) = board(&flights, "a", "k") else { panic!("it is remembered") };
        alone.land();
        drop(lead(board(&flights, "a", "k")));
        assert!(is_empty(&flights));
    }
}
